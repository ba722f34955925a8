// Steps that the AVX2 kernels for s8 share. For files compiled with those instructions only:
// everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/matmul.h"

namespace twofour {
namespace {

constexpr int kLanes = 8;

// sum += x * w over 4 bytes a lane. vpmaddubsw saturates at 16 bits with 255 x 127; |x| <= 127
// makes 2 x 127 x 127 fit, so the sign moves from x to w.
inline void dot(__m256i& sum, __m256i x, __m256i w) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// dequantize_sum of 8 rows.
inline __m256 dequantize(__m256i sum, const PackedWeights& w, int64_t position, float input_scale) {
  const __m256 scale =
      _mm256_mul_ps(_mm256_set1_ps(input_scale), _mm256_load_ps(w.scales.as<float>() + position));
  const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
  return _mm256_add_ps(scaled, _mm256_load_ps(w.bias.as<float>() + position));
}

// `count` of 8 lanes.
inline void store_lanes(float* y, int64_t count, __m256 value) {
  if (count >= kLanes) return _mm256_storeu_ps(y, value);
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, value);
  for (int64_t i = 0; i < count; ++i) y[i] = lanes[i];
}

}  // namespace
}  // namespace twofour
