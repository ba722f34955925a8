#include <immintrin.h>

#include "twofour/cli/peak_loop_impl.h"
#include "twofour/cli/peak_loops.h"

namespace twofour::cli {
namespace {

struct F32 {
  using Vector = __m512;
  static constexpr int kSums = 16, kMultiplications = 16;
  static void step(Vector& sum, Vector a, Vector b) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
};

}  // namespace

double peak_loop_f32_avx512(int64_t rounds) {
  return peak_loop<F32>(rounds, _mm512_set1_ps(1), _mm512_set1_ps(1));
}

}  // namespace twofour::cli
