// Vectors of 16 floats and the functions that the network needs of them, in the compiler's vector
// extension: one register, two or four, the same results. Everything here has internal linkage,
// since files compile it for different instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "twofour/graph/network.h"

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

// a > b ? a : b, and a < b ? a : b. GCC 12 makes two instructions of a comparison and a choice.
TWOFOUR_INLINE F32x16 larger(const F32x16& a, const F32x16& b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
TWOFOUR_INLINE F32x16 smaller(const F32x16& a, const F32x16& b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
TWOFOUR_INLINE F32x16 at_least(const F32x16& v, float low) { return larger(splat(low), v); }
TWOFOUR_INLINE F32x16 at_most(const F32x16& v, float high) { return smaller(splat(high), v); }
TWOFOUR_INLINE F32x16 absolute(const F32x16& v) { return as_float(as_int(v) & 0x7fffffff); }

// a * b + c, rounded once whatever the instruction set: the compiler is not left to choose.
TWOFOUR_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  F32x16 out;
  for (int half = 0; half < kVector; half += 8) {
    const auto part = [half](const F32x16& v) TWOFOUR_LAMBDA {
      return _mm256_loadu_ps(reinterpret_cast<const float*>(&v) + half);
    };
    _mm256_storeu_ps(reinterpret_cast<float*>(&out) + half,
                     _mm256_fmadd_ps(part(a), part(b), part(c)));
  }
  return out;
#else
  F32x16 out;
  for (int i = 0; i < kVector; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return out;
#endif
}

TWOFOUR_INLINE F32x16 fma(const F32x16& a, const F32x16& b, float c) { return fma(a, b, splat(c)); }

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

// 2^x for x in [-126, 126], relative error below 2e-7. The polynomial is a minimax fit of 2^r on
// [-1/2, 1/2].
TWOFOUR_INLINE F32x16 exp2(const F32x16& x) {
  const F32x16 shifted = x + kRound;
  const F32x16 r = x - (shifted - kRound);
  F32x16 p = fma(splat(1.3276473e-3f), r, 9.6755413e-3f);
  p = fma(p, r, 5.5507133e-2f);
  p = fma(p, r, 2.4022120e-1f);
  p = fma(p, r, 6.9314697e-1f);
  p = fma(p, r, 1.0000001f);
  return as_float(as_int(p) + (as_int(shifted) << 23));
}

// Relative error below 1e-6 for arguments in [-86, 86]; those outside are clamped.
TWOFOUR_INLINE F32x16 exp(const F32x16& x) {
  return exp2(at_most(at_least(x * 1.44269504f, -126.0f), 126.0f));
}

TWOFOUR_INLINE F32x16 tanh(const F32x16& x) {
  const F32x16 y = 1.0f - 2.0f / (exp(absolute(x) * 2.0f) + 1.0f);
  return x < 0.0f ? -y : y;
}

// x P(X < x) of a standard normal X = max(x, 0) - |x| P(X < -|x|). The logarithm of that
// probability is a smooth function, so that a polynomial gives the product to 1e-7: a minimax fit
// on [0, 6], weighted by the product; beyond, the product is below 1e-8. No division, unlike the
// usual approximations of erf.
TWOFOUR_INLINE F32x16 gelu(const F32x16& x) {
  const F32x16 a = at_most(absolute(x), 6.0f);
  F32x16 p = fma(splat(3.3092784e-5f), a, -7.6921941e-4f);
  p = fma(p, a, 8.0807155e-3f);
  p = fma(p, a, -5.3412102e-2f);
  p = fma(p, a, -4.5877097e-1f);
  p = fma(p, a, -1.1512017f);
  p = fma(p, a, -9.9999306e-1f);
  return fma(-a, exp2(p), at_least(x, 0.0f));
}

TWOFOUR_INLINE F32x16 gelu_tanh(const F32x16& x) {
  const F32x16 inner = 0.79788456080286536f * (x + 0.044715f * (x * x * x));
  return 0.5f * x * (tanh(inner) + 1.0f);
}

TWOFOUR_INLINE F32x16 relu(const F32x16& x) { return at_least(x, 0.0f); }

// All lanes of `p`, or its first `lanes`.
TWOFOUR_INLINE F32x16 load_lanes(const float* p, int64_t lanes) {
  return lanes == kVector ? load(p) : load_some(p, lanes);
}
TWOFOUR_INLINE void store_lanes(float* p, int64_t lanes, const F32x16& v) {
  lanes == kVector ? store(p, v) : store_some(p, lanes, v);
}
TWOFOUR_INLINE void store_lanes(int8_t* p, int64_t lanes, const I8x16& v) {
  std::memcpy(p, &v, lanes == kVector ? kVector : lanes);
}

template <class Function>
TWOFOUR_INLINE void map_in_place(float* x, int64_t count, Function function) {
  int64_t i = 0;
  for (; i + kVector <= count; i += kVector) store(x + i, function(load(x + i)));
  if (i < count) store_some(x + i, count - i, function(load_some(x + i, count - i)));
}

// In place.
inline void activate(ActivationKind kind, float* x, int64_t count) {
  switch (kind) {
    case ActivationKind::kGelu:
      return map_in_place(x, count, [](const F32x16& v) TWOFOUR_LAMBDA { return gelu(v); });
    case ActivationKind::kGeluTanh:
      return map_in_place(x, count, [](const F32x16& v) TWOFOUR_LAMBDA { return gelu_tanh(v); });
    case ActivationKind::kRelu:
      return map_in_place(x, count, [](const F32x16& v) TWOFOUR_LAMBDA { return relu(v); });
    case ActivationKind::kTanh:
      return map_in_place(x, count, [](const F32x16& v) TWOFOUR_LAMBDA { return tanh(v); });
  }
}

// quantize() of quant/quantize.h.
TWOFOUR_INLINE I8x16 quantize16(const F32x16& x, float scale) {
  const F32x16 clamped = at_most(at_least(x / scale, -127.0f), 127.0f);
  return __builtin_convertvector(as_int(clamped + kRound) - kRoundBits, I8x16);
}

}  // namespace
}  // namespace twofour
