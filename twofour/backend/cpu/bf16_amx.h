// bf16 in the AMX kernels: what the shared loops of products need of a type. For files compiled
// with those instructions only: everything here has internal linkage.
#pragma once

#include "twofour/backend/cpu/amx.h"
#include "twofour/backend/cpu/bf16_avx512.h"

namespace twofour {
namespace {

struct Bf16Amx {
  static constexpr int kElementBytes = 2;
  using Input = float;
  using Finish = Bf16::Finish;

  template <int C, int A, int B>
  static TWOFOUR_INLINE void dot_tiles() {
    dot_tiles_bf16<C, A, B>();
  }

  // Activations come in f32.
  static void lay_out(const void* x, int64_t m, int64_t k, int64_t stride, std::byte* out) {
    Bf16::lay_out(x, m, k, stride, out);
  }

  static TWOFOUR_INLINE __m512 finish(const float* sums, const Finish& finish) {
    return finish(_mm512_load_ps(sums));
  }

  // Of tile_spmm24_amx_impl.h. The top bits of words are the mask of the next row. A group of four
  // inputs takes two rows: each has as many values as its mask has bits.
  static constexpr int kMaskVectors = 1;
  using Mask = __mmask32;
  static TWOFOUR_INLINE Mask next_mask(__m512i& bits) {
    const Mask mask = _mm512_movepi16_mask(bits);
    bits = _mm512_add_epi16(bits, bits);
    return mask;
  }
  static TWOFOUR_INLINE __m512i expand(Mask mask, const std::byte* values) {
    return _mm512_maskz_expand_epi16(mask, _mm512_loadu_si512(values));
  }
  static TWOFOUR_INLINE int64_t value_bytes(Mask mask) {
    return int64_t{kElementBytes} * __builtin_popcount(mask);
  }
};

}  // namespace
}  // namespace twofour
