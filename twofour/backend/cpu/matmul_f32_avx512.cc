#include <immintrin.h>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/matmul_f32_impl.h"

namespace twofour {
namespace {

struct Avx512 {
  using Vector = __m512;
  static constexpr int kLanes = 16, kBlocks = 3, kTokens = 8;
  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* p) { return _mm512_load_ps(p); }
  static Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static void store(float* p, int64_t lanes, Vector v) {
    const unsigned mask = lanes >= kLanes ? 0xffffu : lanes <= 0 ? 0u : (1u << lanes) - 1;
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), v);
  }
};

}  // namespace

void matmul_f32_avx512(const PackedWeights& w, const MatmulArgs& args) { run_f32<Avx512>(w, args); }

}  // namespace twofour
