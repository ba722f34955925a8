// Steps that the AVX-512 VNNI kernels for s8 share. For files compiled with those instructions
// only: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/cpu/tile_avx512.h"

namespace twofour {
namespace {

// GCC 12 spills accumulators around _mm512_dpbusd_epi32, which halves the speed; "+v" keeps them in
// registers.
inline __attribute__((always_inline)) void dot(__m512i& sum, __m512i u8, __m512i s8) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u8), "v"(s8));
}

inline int64_t u8_stride(int64_t k_padded) { return (k_padded + 63) / 64 * 64; }

// vpdpbusd wants one unsigned operand: activations + 128. Rows of `out` are u8_stride(k_padded)
// apart.
inline void activations_to_u8(const int8_t* x, int64_t m, int64_t k, int64_t stride, uint8_t* out) {
  const __m512i offset = _mm512_set1_epi8(-128);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < k; j += 64) {
      const __mmask64 mask = k - j >= 64 ? ~0ull : (1ull << (k - j)) - 1;
      const __m512i values = _mm512_maskz_loadu_epi8(mask, x + i * k + j);
      _mm512_store_si512(out + i * stride + j, _mm512_xor_si512(values, offset));
    }
  }
}

// Takes back the 128 that activations_to_u8 added.
inline __m512i start_sum(const PackedWeights& w, int64_t position) {
  const __m512i sums = _mm512_load_si512(w.row_sums.as<int32_t>() + position);
  return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7));
}

// dequantize_sum of 16 rows.
inline __m512 dequantize(__m512i sum, const PackedWeights& w, int64_t position,
                         __m512 input_scale) {
  const __m512 scale = _mm512_mul_ps(input_scale, _mm512_load_ps(w.scales.as<float>() + position));
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
  return _mm512_add_ps(scaled, _mm512_load_ps(w.bias.as<float>() + position));
}

}  // namespace
}  // namespace twofour
