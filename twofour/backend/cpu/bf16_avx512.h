// bf16 in the AVX-512 BF16 kernels: what the shared loops of products need of a type. For files
// compiled with those instructions only: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "twofour/backend/cpu/tile_avx512.h"

namespace twofour {
namespace {

struct Bf16 : Avx512 {
  static constexpr int kElementBytes = 2;
  using Sum = __m512;

  // Activations come in f32. Rows of `out` are `stride` bytes apart.
  static void lay_out(const void* x, int64_t m, int64_t k, int64_t stride, std::byte* out) {
    for (int64_t i = 0; i < m; ++i) {
      const float* row = static_cast<const float*>(x) + i * k;
      for (int64_t j = 0; j < k; j += 32) {
        const int64_t left = k - j;
        const auto part = [&](int64_t offset) {
          const int64_t lanes = left - offset;
          return lanes >= kVector ? twofour::load(row + j + offset)
                 : lanes > 0      ? load_some(row + j + offset, lanes)
                                  : F32x16{};
        };
        const __m512bh both = _mm512_cvtne2ps_pbh(part(kVector), part(0));
        _mm512_store_si512(out + i * stride + j * 2, reinterpret_cast<__m512i>(both));
      }
    }
  }

  static inline __attribute__((always_inline)) Sum start(const PackedWeights&, int64_t) {
    return _mm512_setzero_ps();
  }

  static inline __attribute__((always_inline)) void dot(Sum& sum, __m512i x, __m512i w) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  }

  struct Finish {
    __m512 bias;
    Finish() = default;
    TWOFOUR_INLINE Finish(const PackedWeights& w, int64_t position, float)
        : bias(_mm512_load_ps(w.bias.as<float>() + position)) {}
    TWOFOUR_INLINE __m512 operator()(Sum sum) const { return _mm512_add_ps(sum, bias); }
  };
};

}  // namespace
}  // namespace twofour
