#include <immintrin.h>

#include "twofour/cli/peak_loop_impl.h"
#include "twofour/cli/peak_loops.h"

namespace twofour::cli {
namespace {

struct F32 {
  using Vector = __m256;
  static constexpr int kSums = 12, kMultiplications = 8;
  static void step(Vector& sum, Vector a, Vector b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
  }
};

// Without VNNI two instructions make a step, of numbers widened to 16 bits.
struct S8 {
  using Vector = __m256i;
  static constexpr int kSums = 8, kMultiplications = 16;
  static void step(Vector& sum, Vector a, Vector b) {
    Vector products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(products) : "x"(a), "x"(b));
  }
};

}  // namespace

double peak_loop_f32_avx2(int64_t rounds) {
  return peak_loop<F32>(rounds, _mm256_set1_ps(1), _mm256_set1_ps(1));
}

double peak_loop_s8_avx2(int64_t rounds) {
  return peak_loop<S8>(rounds, _mm256_set1_epi8(1), _mm256_set1_epi8(1));
}

}  // namespace twofour::cli
