#include <array>

#include "twofour/backend/cpu/bf16_avx512.h"
#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_spmm24_impl.h"

namespace twofour {
namespace {

// A metadata byte i0 | i1 << 2 has 16 values: the control of a lane, the bytes 2 i and 2 i + 1 of
// both, is looked up.
struct ExpandByLookup {
  static inline __attribute__((always_inline)) __m512i control(const uint8_t* metadata) {
    alignas(64) static constexpr auto kControls = [] {
      std::array<uint32_t, kLanes> controls{};
      for (uint32_t i = 0; i < kLanes; ++i) {
        const uint32_t low = 2 * (i & 3), high = 2 * (i >> 2);
        controls[i] = low | (low + 1) << 8 | high << 16 | (high + 1) << 24;
      }
      return controls;
    }();
    const __m512i index =
        _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(metadata)));
    return _mm512_permutexvar_epi32(index, _mm512_load_si512(kControls.data()));
  }
};

}  // namespace

size_t spmm24_bf16_avx512bf16_scratch(const PackedWeights& w, int64_t m) {
  return sparse_scratch<Bf16>(w, m);
}

void spmm24_bf16_avx512bf16(const PackedWeights& w, const MatmulArgs& args) {
  run_sparse<Bf16, ExpandByLookup>(w, args);
}

}  // namespace twofour
