// int8 in the AVX-512 VNNI kernels: what the shared loops of products need of a type. For files
// compiled with those instructions only: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/cpu/tile_avx512.h"

namespace twofour {
namespace {

struct S8 : Avx512 {
  static constexpr int kElementBytes = 1;
  using Sum = __m512i;

  // vpdpbusd wants one unsigned operand: activations + 128. Rows of `out` are `stride` apart.
  static void lay_out(const void* x, int64_t m, int64_t k, int64_t stride, std::byte* out) {
    const __m512i offset = _mm512_set1_epi8(-128);
    for (int64_t i = 0; i < m; ++i) {
      const int8_t* row = static_cast<const int8_t*>(x) + i * k;
      for (int64_t j = 0; j < k; j += 64) {
        const __mmask64 mask = k - j >= 64 ? ~0ull : (1ull << (k - j)) - 1;
        const __m512i values = _mm512_maskz_loadu_epi8(mask, row + j);
        _mm512_store_si512(out + i * stride + j, _mm512_xor_si512(values, offset));
      }
    }
  }

  // Takes back the 128 that lay_out added.
  static inline __attribute__((always_inline)) Sum start(const PackedWeights& w, int64_t position) {
    const __m512i sums = _mm512_load_si512(w.row_sums.as<int32_t>() + position);
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7));
  }

  // GCC 12 spills accumulators around _mm512_dpbusd_epi32, which halves the speed; "+v" keeps them
  // in registers.
  static inline __attribute__((always_inline)) void dot(Sum& sum, __m512i x, __m512i w) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  }

  // dequantize_sum of 16 rows.
  struct Finish {
    __m512 scale, bias;
    Finish() = default;
    TWOFOUR_INLINE Finish(const PackedWeights& w, int64_t position, float input_scale)
        : scale(_mm512_mul_ps(_mm512_set1_ps(input_scale),
                              _mm512_load_ps(w.scales.as<float>() + position))),
          bias(_mm512_load_ps(w.bias.as<float>() + position)) {}
    TWOFOUR_INLINE __m512 operator()(Sum sum) const {
      return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), bias);
    }
  };
};

}  // namespace
}  // namespace twofour
