#include <immintrin.h>

#include "twofour/cli/peak_loop_impl.h"
#include "twofour/cli/peak_loops.h"

namespace twofour::cli {
namespace {

struct Bf16 {
  using Vector = __m512;
  static constexpr int kSums = 16, kMultiplications = 32;
  static void step(Vector& sum, Vector a, Vector b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
};

}  // namespace

double peak_loop_bf16_avx512bf16(int64_t rounds) {
  const __m512 ones = _mm512_castsi512_ps(_mm512_set1_epi16(0x3f80));
  return peak_loop<Bf16>(rounds, ones, ones);
}

}  // namespace twofour::cli
