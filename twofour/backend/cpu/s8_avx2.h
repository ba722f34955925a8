// int8 in the AVX2 kernels. For files compiled with those instructions only: everything here has
// internal linkage.
//
// Activations and weights meet as 16-bit numbers (vpmaddwd). vpmaddubsw would take half as many
// multiplications, but it saturates at 255 x 127 unless a vpsignb moves the sign, and on Zen 4 was
// the slower way (docs/kernels.md). Weights stay bytes in memory.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/cpu/tile_avx2.h"

namespace twofour {
namespace {

// [m, k] to 16 bits, rows `stride` elements apart, zeros behind k.
inline void widen(const int8_t* x, int64_t m, int64_t k, int64_t stride, int16_t* out) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < k; ++j) out[i * stride + j] = x[i * k + j];
    for (int64_t j = k; j < stride; ++j) out[i * stride + j] = 0;
  }
}

// The weights of a block of 8 lanes, 4 bytes each: lanes 0 to 3, then 4 to 7.
struct BlockWeights {
  __m256i half[2];
  TWOFOUR_INLINE explicit BlockWeights(const int8_t* p) {
    const auto* bytes = reinterpret_cast<const __m128i*>(p);
    half[0] = _mm256_cvtepi8_epi16(_mm_load_si128(bytes));
    half[1] = _mm256_cvtepi8_epi16(_mm_load_si128(bytes + 1));
  }
};

// Sums of a block, two of each lane: those of its first and of its last two bytes.
struct BlockSum {
  __m256i half[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

  // Of intrinsics GCC 12 makes all products first, for which there are no registers.
  TWOFOUR_INLINE void add(int h, __m256i x, __m256i w) {
    __m256i products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
        : "+x"(half[h]), "=&x"(products)
        : "x"(x), "x"(w));
  }
  // By lane.
  TWOFOUR_INLINE __m256i total() const {
    const __m256i pairs = _mm256_hadd_epi32(half[0], half[1]);  // lanes 0 1 4 5, 2 3 6 7
    return _mm256_permute4x64_epi64(pairs, 0b11011000);
  }
};

// dequantize_sum of the sums of S blocks, to [token][panel's block][lane].
template <int B, int S, int T>
TWOFOUR_INLINE void dequantize(const BlockSum (&sum)[S][T], const PackedWeights& w,
                               int64_t position, float input_scale, float* values) {
  for_each_index<S>([&](int s) TWOFOUR_LAMBDA {
    const __m256 scale = _mm256_mul_ps(
        _mm256_set1_ps(input_scale), _mm256_load_ps(w.scales.as<float>() + position + s * kLanes));
    const __m256 bias = _mm256_load_ps(w.bias.as<float>() + position + s * kLanes);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[s][t].total()), scale);
      _mm256_store_ps(values + (t * B + s) * kLanes, _mm256_add_ps(scaled, bias));
    });
  });
}

}  // namespace
}  // namespace twofour
