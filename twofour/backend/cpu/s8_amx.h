// int8 in the AMX kernels: what the shared loops of products need of a type. For files compiled
// with those instructions only: everything here has internal linkage.
#pragma once

#include <cstring>

#include "twofour/backend/cpu/amx.h"
#include "twofour/backend/cpu/s8_avx512.h"

namespace twofour {
namespace {

struct S8Amx {
  static constexpr int kElementBytes = 1;
  using Input = int8_t;
  using Finish = S8::Finish;

  template <int C, int A, int B>
  static TWOFOUR_INLINE void dot_tiles() {
    dot_tiles_s8<C, A, B>();
  }

  static void lay_out(const void* x, int64_t m, int64_t k, int64_t stride, std::byte* out) {
    for (int64_t i = 0; i < m; ++i, out += stride) {
      std::memcpy(out, static_cast<const std::byte*>(x) + i * k, k);
      std::memset(out + k, 0, stride - k);
    }
  }

  static TWOFOUR_INLINE __m512 finish(const float* sums, const Finish& finish) {
    return finish(_mm512_load_si512(sums));
  }

  // Of tile_spmm24_amx_impl.h. The top bits of bytes are the mask of the next row.
  static constexpr int kMaskVectors = 2;
  using Mask = __mmask64;
  static TWOFOUR_INLINE Mask next_mask(__m512i& bits) {
    const Mask mask = _mm512_movepi8_mask(bits);
    bits = _mm512_add_epi8(bits, bits);
    return mask;
  }
  static TWOFOUR_INLINE __m512i expand(Mask mask, const std::byte* values) {
    return _mm512_maskz_expand_epi8(
        mask, _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values))));
  }
  static TWOFOUR_INLINE int64_t value_bytes(Mask) { return kTileRowBytes / 2; }
};

}  // namespace
}  // namespace twofour
