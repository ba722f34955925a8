#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx512.h"
#include "twofour/backend/cpu/tile_spmm24_impl.h"

namespace twofour {
namespace {

// Four 2-bit fields of a byte to the low bits of four bytes. Shifted copies overlap only outside of
// the bits that are kept.
struct ExpandByShifts {
  static inline __attribute__((always_inline)) __m512i control(const uint8_t* metadata) {
    const __m512i b =
        _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(metadata)));
    constexpr int kOr3 = 0xfe, kOrThenAnd = 0xa8;
    const __m512i three =
        _mm512_ternarylogic_epi32(b, _mm512_slli_epi32(b, 6), _mm512_slli_epi32(b, 12), kOr3);
    const __m512i fields = _mm512_ternarylogic_epi32(three, _mm512_slli_epi32(b, 18),
                                                     _mm512_set1_epi32(0x03030303), kOrThenAnd);
    return _mm512_or_si512(fields, _mm512_set1_epi32(0x04040000));  // the second group of 4 inputs
  }
};

}  // namespace

size_t spmm24_s8_avx512vnni_scratch(const PackedWeights& w, int64_t m) {
  return sparse_scratch<S8>(w, m);
}

void spmm24_s8_avx512vnni(const PackedWeights& w, const MatmulArgs& args) {
  run_sparse<S8, ExpandByShifts>(w, args);
}

}  // namespace twofour
