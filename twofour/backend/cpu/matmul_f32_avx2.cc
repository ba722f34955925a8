#include <immintrin.h>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/matmul_f32_impl.h"

namespace twofour {
namespace {

struct Avx2 {
  using Vector = __m256;
  static constexpr int kLanes = 8, kBlocks = 2, kTokens = 6;
  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector load(const float* p) { return _mm256_load_ps(p); }
  static Vector broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static void store(float* p, int64_t lanes, Vector v) {
    if (lanes >= kLanes) return _mm256_storeu_ps(p, v);
    alignas(32) float values[kLanes];
    _mm256_store_ps(values, v);
    for (int64_t i = 0; i < lanes; ++i) p[i] = values[i];
  }
};

}  // namespace

void matmul_f32_avx2(const PackedWeights& w, const MatmulArgs& args) { run_f32<Avx2>(w, args); }

}  // namespace twofour
