// Vectors of 16 floats and the functions that the network needs of them, in the compiler's vector
// extension: one register, two or four, the same results. Everything here has internal linkage,
// since files compile it for different instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

namespace twofour {
namespace {

#define TWOFOUR_INLINE inline __attribute__((always_inline))
#define TWOFOUR_LAMBDA __attribute__((always_inline))

constexpr int kVector = 16;
typedef float F32x16 __attribute__((vector_size(64)));
typedef int32_t I32x16 __attribute__((vector_size(64)));
typedef int8_t I8x16 __attribute__((vector_size(16)));

TWOFOUR_INLINE F32x16 splat(float value) { return value - F32x16{}; }

TWOFOUR_INLINE F32x16 load(const float* p) {
  F32x16 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

TWOFOUR_INLINE void store(float* p, const F32x16& v) { std::memcpy(p, &v, sizeof v); }

// `count` < 16 lanes, the others 0.
TWOFOUR_INLINE F32x16 load_some(const float* p, int64_t count) {
  F32x16 v{};
  std::memcpy(&v, p, count * sizeof(float));
  return v;
}

TWOFOUR_INLINE void store_some(float* p, int64_t count, const F32x16& v) {
  std::memcpy(p, &v, count * sizeof(float));
}

TWOFOUR_INLINE I32x16 as_int(const F32x16& v) { return reinterpret_cast<const I32x16&>(v); }
TWOFOUR_INLINE F32x16 as_float(const I32x16& v) { return reinterpret_cast<const F32x16&>(v); }

TWOFOUR_INLINE F32x16 at_least(const F32x16& v, float low) { return v < low ? splat(low) : v; }
TWOFOUR_INLINE F32x16 at_most(const F32x16& v, float high) { return v > high ? splat(high) : v; }
TWOFOUR_INLINE F32x16 absolute(const F32x16& v) { return as_float(as_int(v) & 0x7fffffff); }

// In a fixed order.
TWOFOUR_INLINE float sum_lanes(const F32x16& v) {
  float s[kVector];
  std::memcpy(s, &v, sizeof s);
  for (int width = kVector / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) s[i] += s[i + width];
  }
  return s[0];
}

TWOFOUR_INLINE float max_lanes(const F32x16& v) {
  float s[kVector];
  std::memcpy(s, &v, sizeof s);
  for (int width = kVector / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) s[i] = s[i] < s[i + width] ? s[i + width] : s[i];
  }
  return s[0];
}

// Adding 1.5 * 2^23 leaves the integer nearest to v (ties to even) in the low bits, for |v| < 2^22.
constexpr float kRound = 12582912.0f;
constexpr int32_t kRoundBits = 0x4b400000;

// Relative error below 2e-7 on [-87, 88]; arguments outside are clamped.
// Source: Cephes expf, range reduction by ln 2 in two parts and a polynomial of degree 5.
TWOFOUR_INLINE F32x16 exp(const F32x16& argument) {
  const F32x16 x = at_most(at_least(argument, -87.3f), 88.3f);
  const F32x16 shifted = x * 1.44269504088896341f + kRound;
  const F32x16 n = shifted - kRound;
  const F32x16 r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  F32x16 p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const I32x16 exponent = (as_int(shifted) - kRoundBits + 127) << 23;
  return p * as_float(exponent);
}

// Absolute error below 5e-7. Source: Abramowitz and Stegun, 7.1.26.
TWOFOUR_INLINE F32x16 erf(const F32x16& x) {
  const F32x16 a = absolute(x);
  const F32x16 t = 1.0f / (a * 0.3275911f + 1.0f);
  F32x16 p = splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const F32x16 y = 1.0f - p * t * exp(-(a * a));
  return x < 0.0f ? -y : y;
}

TWOFOUR_INLINE F32x16 tanh(const F32x16& x) {
  const F32x16 y = 1.0f - 2.0f / (exp(absolute(x) * 2.0f) + 1.0f);
  return x < 0.0f ? -y : y;
}

TWOFOUR_INLINE F32x16 gelu(const F32x16& x) {
  return 0.5f * x * (erf(x * 0.70710678118654752f) + 1.0f);
}

TWOFOUR_INLINE F32x16 gelu_tanh(const F32x16& x) {
  const F32x16 inner = 0.79788456080286536f * (x + 0.044715f * (x * x * x));
  return 0.5f * x * (tanh(inner) + 1.0f);
}

TWOFOUR_INLINE F32x16 relu(const F32x16& x) { return at_least(x, 0.0f); }

}  // namespace
}  // namespace twofour
