#include "twofour/train/elementwise.h"

#include <bit>

namespace twofour::elementwise {
namespace {

float load(float x) { return x; }
float load(BFloat16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

void store(float value, float& y) { y = value; }
void store(float value, BFloat16& y) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  y.bits = value == value ? static_cast<uint16_t>(bits >> 16) : uint16_t{0x7fc0};
}

// Bits instead of a condition: GCC vectorizes these loops only so. A pruned NaN becomes 0 too.
float kept(uint8_t keep, float x) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & (0u - keep));
}

float magnitude(float x) { return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0x7fffffffu); }

// Adding 1.5 * 2^23 leaves no bits for a fraction, so the addition itself rounds half to even.
// Unlike nearbyint it needs no instruction beyond SSE2, and -0 becomes 0, as it does in an integer.
constexpr float kRounder = 12582912.0f;

}  // namespace

template <class T, class U>
void quantize_dequantize(const T* x, float scale, int qmax, U* y, int64_t n) {
  const float high = static_cast<float>(qmax), low = -high;
  for (int64_t i = 0; i < n; ++i) {
    float q = load(x[i]) / scale;
    q = q < low ? low : q;
    q = q > high ? high : q;
    store(((q + kRounder) - kRounder) * scale, y[i]);
  }
}

template <class T, class U>
void clip_gradient(const T* x, float limit, const U* dy, T* dx, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = load(dy[i]);
    store(magnitude(load(x[i])) <= limit ? gradient : 0.0f, dx[i]);
  }
}

float max_abs(const float* x, int64_t n) {
  // As integers, magnitudes are ordered like the floats that they are and NaN is above infinity.
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return std::bit_cast<float>(largest);
}

void select(const uint8_t* keep, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = kept(keep[i], x[i]);
}

void select_into(const uint8_t* keep, float* x, float* removed, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float inside = kept(keep[i], x[i]);
    removed[i] += x[i] - inside;
    x[i] = inside;
  }
}

bool violates(const uint8_t* keep, const float* x, int64_t n) {
  uint32_t outside = 0;
  for (int64_t i = 0; i < n; ++i) {
    outside |= std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu & (keep[i] - 1u);
  }
  return outside != 0;
}

template void quantize_dequantize(const float*, float, int, float*, int64_t);
template void quantize_dequantize(const float*, float, int, BFloat16*, int64_t);
template void quantize_dequantize(const BFloat16*, float, int, float*, int64_t);
template void quantize_dequantize(const BFloat16*, float, int, BFloat16*, int64_t);
template void clip_gradient(const float*, float, const float*, float*, int64_t);
template void clip_gradient(const float*, float, const BFloat16*, float*, int64_t);
template void clip_gradient(const BFloat16*, float, const float*, BFloat16*, int64_t);
template void clip_gradient(const BFloat16*, float, const BFloat16*, BFloat16*, int64_t);

}  // namespace twofour::elementwise
