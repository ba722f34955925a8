#include <immintrin.h>

#include "twofour/cli/peak_loop_impl.h"
#include "twofour/cli/peak_loops.h"

namespace twofour::cli {
namespace {

struct S8 {
  using Vector = __m512i;
  static constexpr int kSums = 16, kMultiplications = 64;
  static void step(Vector& sum, Vector a, Vector b) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
};

}  // namespace

double peak_loop_s8_avx512vnni(int64_t rounds) {
  return peak_loop<S8>(rounds, _mm512_set1_epi8(1), _mm512_set1_epi8(1));
}

}  // namespace twofour::cli
