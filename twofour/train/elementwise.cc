#include "twofour/train/elementwise.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "twofour/base/random.h"

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

// xoshiro128++ (Blackman & Vigna 2021) in parallel lanes: additions and shifts only, so SSE2
// suffices.
class RandomLanes {
 public:
  RandomLanes(uint64_t seed, int64_t stream) {
    uint64_t state = seed ^ (static_cast<uint64_t>(stream) * 0xd1342543de82ef95u);
    for (Lanes* word : {&a_, &b_, &c_, &d_}) {
      for (int lane = 0; lane < kLanes; ++lane) {
        (*word)[lane] = static_cast<uint32_t>(split_mix(state) >> 32);
      }
    }
  }

  // Numbers in [0, 2^31); `count` is a multiple of 8.
  void fill(int32_t* out, int64_t count) {
    for (int64_t i = 0; i < count; i += kLanes) {
      const Lanes sum = a_ + d_;
      const Lanes random = (((sum << 7) | (sum >> 25)) + a_) >> 1;
      std::memcpy(out + i, &random, sizeof random);
      const Lanes t = b_ << 9;
      c_ ^= a_;
      d_ ^= b_;
      b_ ^= c_;
      a_ ^= d_;
      c_ ^= t;
      d_ = (d_ << 11) | (d_ >> 21);
    }
  }

 private:
  static constexpr int kLanes = 8;
  // A vector type of GCC and Clang: they do not vectorize the loop over an array of lanes.
  using Lanes [[gnu::vector_size(kLanes * sizeof(uint32_t))]] = uint32_t;
  Lanes a_, b_, c_, d_;
};

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

template <class T>
void dropout_block(const T* x, uint64_t seed, int64_t block, double p, T* y, int64_t n) {
  constexpr int64_t kPart = 256;
  int32_t random[kPart];
  RandomLanes lanes(seed, block);
  const auto threshold = static_cast<int32_t>(p * 2147483648.0);
  const auto scale = static_cast<float>(1 / (1 - p));
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t count = std::min(kPart, n - begin);
    lanes.fill(random, kPart);
    for (int64_t i = 0; i < count; ++i) {
      store(kept(random[i] >= threshold, load(x[begin + i]) * scale), y[begin + i]);
    }
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
template void dropout_block(const float*, uint64_t, int64_t, double, float*, int64_t);
template void dropout_block(const BFloat16*, uint64_t, int64_t, double, BFloat16*, int64_t);
template void clip_gradient(const float*, float, const float*, float*, int64_t);
template void clip_gradient(const float*, float, const BFloat16*, float*, int64_t);
template void clip_gradient(const BFloat16*, float, const float*, BFloat16*, int64_t);
template void clip_gradient(const BFloat16*, float, const BFloat16*, BFloat16*, int64_t);

}  // namespace twofour::elementwise
