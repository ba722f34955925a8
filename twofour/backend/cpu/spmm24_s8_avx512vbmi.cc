#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx512.h"
#include "twofour/backend/cpu/tile_spmm24_impl.h"

namespace twofour {
namespace {

// vpmultishiftqb takes 8 bits from anywhere in 64: the bytes of two lanes give their eight fields
// at once. Half the instructions of shifts, which is felt with few tokens.
struct ExpandByMultishift {
  static inline __attribute__((always_inline)) __m512i control(const uint8_t* metadata) {
    const __m512i pairs =
        _mm512_cvtepu16_epi64(_mm_load_si128(reinterpret_cast<const __m128i*>(metadata)));
    const __m512i fields =
        _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x0e0c0a0806040200), pairs);
    constexpr int kAndThenOr = 0xea;
    return _mm512_ternarylogic_epi32(fields, _mm512_set1_epi32(0x03030303),
                                     _mm512_set1_epi32(0x04040000), kAndThenOr);
  }
};

}  // namespace

size_t spmm24_s8_avx512vbmi_scratch(const PackedWeights& w, int64_t m) {
  return sparse_scratch<S8>(w, m);
}

void spmm24_s8_avx512vbmi(const PackedWeights& w, const MatmulArgs& args) {
  run_sparse<S8, ExpandByMultishift>(w, args);
}

}  // namespace twofour
