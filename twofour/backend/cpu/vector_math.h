// The functions that the network needs of vectors of 16 floats: the same results for every
// instruction set. Everything here has internal linkage, since files compile it for different ones.
#pragma once

#include "twofour/backend/cpu/vector16.h"
#include "twofour/graph/network.h"

namespace twofour {
namespace {

// Adding 1.5 * 2^23 leaves the integer nearest to v (ties to even) in the low bits, for |v| < 2^22.
constexpr float kRound = 12582912.0f;

// 2^x for x in [-126, 126], relative error below 2e-7. The polynomial is a minimax fit of 2^r on
// [-1/2, 1/2].
template <class V>
TWOFOUR_INLINE V exp2(const V& x) {
  const V shifted = x + kRound;
  const V r = x - (shifted - kRound);
  V p = fma(r, 1.3276473e-3f, 9.6755413e-3f);
  p = fma(p, r, 5.5507133e-2f);
  p = fma(p, r, 2.4022120e-1f);
  p = fma(p, r, 6.9314697e-1f);
  p = fma(p, r, 1.0000001f);
  return as_float(as_int(p) + (as_int(shifted) << 23));
}

// Relative error below 1e-6 for arguments in [-86, 86]; those outside are clamped.
template <class V>
TWOFOUR_INLINE V exp(const V& x) {
  return exp2(at_most(at_least(x * 1.44269504f, -126.0f), 126.0f));
}

template <class V>
TWOFOUR_INLINE V tanh(const V& x) {
  const V y = 1.0f - 2.0f / (exp(absolute(x) * 2.0f) + 1.0f);
  return as_float(as_int(y) | (as_int(x) & kSignBit));
}

// x P(X < x) of a standard normal X = max(x, 0) - |x| P(X < -|x|). The logarithm of that
// probability is a smooth function, so that a polynomial gives the product to 1e-7: a minimax fit
// on [0, 6], weighted by the product; beyond, the product is below 1e-8. No division, unlike the
// usual approximations of erf.
template <class V>
TWOFOUR_INLINE V gelu(const V& x) {
  const V a = at_most(absolute(x), 6.0f);
  V p = fma(a, 3.3092784e-5f, -7.6921941e-4f);
  p = fma(p, a, 8.0807155e-3f);
  p = fma(p, a, -5.3412102e-2f);
  p = fma(p, a, -4.5877097e-1f);
  p = fma(p, a, -1.1512017f);
  p = fma(p, a, -9.9999306e-1f);
  return fma(-a, exp2(p), at_least(x, 0.0f));
}

template <class V>
TWOFOUR_INLINE V gelu_tanh(const V& x) {
  const V inner = 0.79788456080286536f * (x + 0.044715f * (x * x * x));
  return 0.5f * x * (tanh(inner) + 1.0f);
}

template <class V>
TWOFOUR_INLINE V relu(const V& x) {
  return at_least(x, 0.0f);
}

// As many at a time as the registers hold besides what they are computed with.
#if defined(__AVX512F__)
constexpr int kSeveral = 4;
#elif defined(__AVX2__)
constexpr int kSeveral = 2;
#else
constexpr int kSeveral = 1;
#endif

template <class Function>
TWOFOUR_INLINE void map_in_place(float* x, int64_t count, Function function) {
  int64_t i = 0;
  for (; i + kSeveral * kVector <= count; i += kSeveral * kVector) {
    const auto y = function(side_by_side<kSeveral>(
        [&](int part) TWOFOUR_LAMBDA { return load(x + i + part * kVector); }));
    for_each_index<kSeveral>([&](int part)
                                 TWOFOUR_LAMBDA { store(x + i + part * kVector, y.v[part]); });
  }
  for (; i + kVector <= count; i += kVector) store(x + i, function(load(x + i)));
  if (i < count) store_some(x + i, count - i, function(load_some(x + i, count - i)));
}

// function(f), f being the activation of a vector.
template <class Function>
TWOFOUR_INLINE void with_activation(ActivationKind kind, Function function) {
  switch (kind) {
    case ActivationKind::kGelu:
      return function([](const auto& v) TWOFOUR_LAMBDA { return gelu(v); });
    case ActivationKind::kGeluTanh:
      return function([](const auto& v) TWOFOUR_LAMBDA { return gelu_tanh(v); });
    case ActivationKind::kRelu:
      return function([](const auto& v) TWOFOUR_LAMBDA { return relu(v); });
    case ActivationKind::kTanh:
      return function([](const auto& v) TWOFOUR_LAMBDA { return tanh(v); });
  }
}

// In place.
inline void activate(ActivationKind kind, float* x, int64_t count) {
  with_activation(kind, [&](auto f) TWOFOUR_LAMBDA { map_in_place(x, count, f); });
}

// quantize() of quant/quantize.h, of x + offset. Made before a loop: a compiler must suppose that a
// store of bytes changes what lies in memory.
class Quantizer {
 public:
  TWOFOUR_INLINE explicit Quantizer(float scale, float offset = 0)
      : scale_(scale), offset_(offset) {}

  // I8x16 of a vector, several of several.
  template <class V>
  TWOFOUR_INLINE auto operator()(const V& value) const {
    const V x = value + offset_;
#if defined(__AVX512F__)
    // The same quotient without the division, which takes 16 cycles on Intel: with the reciprocal
    // correctly rounded, one correction rounds the quotient correctly (Markstein 1990), unless
    // numbers are so small or large that parts of it are not exact. What is clamped first does not
    // round beyond 127.
    if (by_reciprocal_) {
      const V clamped = at_most(at_least(x, -largest_), largest_);
      const V near = clamped * reciprocal_;
      return rounded(fma(fma(-near, scale_, clamped), reciprocal_, near));
    }
#endif
    return rounded(at_most(at_least(x / scale_, -127.0f), 127.0f));
  }

 private:
  template <class V>
  static TWOFOUR_INLINE auto rounded(const V& quotient) {
    return to_bytes(as_int(quotient + kRound));  // whose low bytes are those of the integer
  }

  float scale_, offset_;
#if defined(__AVX512F__)
  bool by_reciprocal_ = scale_ >= 0x1p-100f && scale_ <= 0x1p+119f;
  float reciprocal_ = by_reciprocal_ ? 1.0f / scale_ : 0.0f;
  float largest_ = 127.0f * scale_;
#endif
};

}  // namespace
}  // namespace twofour
