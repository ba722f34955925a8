// int8 in the AVX-VNNI kernels, 256 bits: what the shared loops of products need of a type. For
// files compiled with those instructions only: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/cpu/tile_avx2.h"

namespace twofour {
namespace {

struct S8 : Avx2 {
  static constexpr int kElementBytes = 1;
  using Sum = __m256i;

  // As S8 of s8_avx512.h.
  static void lay_out(const void* x, int64_t m, int64_t k, int64_t stride, std::byte* out) {
    for (int64_t i = 0; i < m; ++i) {
      const auto* row = static_cast<const std::byte*>(x) + i * k;
      for (int64_t j = 0; j < k; ++j) out[i * stride + j] = row[j] ^ std::byte{0x80};
      for (int64_t j = k; j < stride; ++j) out[i * stride + j] = std::byte{0x80};
    }
  }

  static TWOFOUR_INLINE Sum start(const PackedWeights& w, int64_t position) {
    const auto* sums = reinterpret_cast<const __m256i*>(w.row_sums.as<int32_t>() + position);
    return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(_mm256_load_si256(sums), 7));
  }

  // AVX-512 VNNI has another encoding of the same instruction: a test runs it where AVX-VNNI is
  // missing.
  static TWOFOUR_INLINE void dot(Sum& sum, __m256i x, __m256i w) {
#if defined(TWOFOUR_AVXVNNI_AS_EVEX)
    asm("%{evex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
#endif
  }

  // dequantize_sum of 8 rows.
  struct Finish {
    __m256 scale, bias;
    TWOFOUR_INLINE Finish(const PackedWeights& w, int64_t position, float input_scale)
        : scale(_mm256_mul_ps(_mm256_set1_ps(input_scale),
                              _mm256_load_ps(w.scales.as<float>() + position))),
          bias(_mm256_load_ps(w.bias.as<float>() + position)) {}
    TWOFOUR_INLINE __m256 operator()(Sum sum) const {
      return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), bias);
    }
  };
};

// Four 2-bit fields of a byte to the low bits of four bytes. Shifted copies overlap only outside of
// the bits that are kept.
struct ExpandByShifts {
  static TWOFOUR_INLINE __m256i control(const uint8_t* metadata) {
    const __m256i b =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(metadata)));
    const __m256i low = _mm256_or_si256(b, _mm256_slli_epi32(b, 6));
    const __m256i high = _mm256_or_si256(_mm256_slli_epi32(b, 12), _mm256_slli_epi32(b, 18));
    const __m256i fields =
        _mm256_and_si256(_mm256_or_si256(low, high), _mm256_set1_epi32(0x03030303));
    return _mm256_or_si256(fields, _mm256_set1_epi32(0x04040000));  // the second group of 4 inputs
  }
};

}  // namespace
}  // namespace twofour
