// Steps that the AVX2 kernels for s8 share. For files compiled with those instructions only:
// everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/cpu/tile_avx2.h"

namespace twofour {
namespace {

// sum += x * w over 4 bytes a lane. vpmaddubsw saturates at 16 bits with 255 x 127; |x| <= 127
// makes 2 x 127 x 127 fit, so the sign moves from x to w.
inline void dot(__m256i& sum, __m256i x, __m256i w) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

inline __m256i load_weights(const int8_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// dequantize_sum of the sums of a tile, [token][block][lane].
template <int B, int T>
TWOFOUR_INLINE void dequantize(const __m256i (&sum)[B][T], const PackedWeights& w, int64_t position,
                               float input_scale, float* values) {
  for_each_index<B>([&](int b) TWOFOUR_LAMBDA {
    const __m256 scale = _mm256_mul_ps(
        _mm256_set1_ps(input_scale), _mm256_load_ps(w.scales.as<float>() + position + b * kLanes));
    const __m256 bias = _mm256_load_ps(w.bias.as<float>() + position + b * kLanes);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[b][t]), scale);
      _mm256_store_ps(values + (t * B + b) * kLanes, _mm256_add_ps(scaled, bias));
    });
  });
}

}  // namespace
}  // namespace twofour
