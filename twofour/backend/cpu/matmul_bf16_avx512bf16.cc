#include "twofour/backend/cpu/bf16_avx512.h"
#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_matmul_impl.h"

namespace twofour {

size_t matmul_bf16_avx512bf16_scratch(const PackedWeights& w, int64_t m) {
  return dense_scratch<Bf16>(w, m);
}

void matmul_bf16_avx512bf16(const PackedWeights& w, const MatmulArgs& args) {
  run_dense<Bf16>(w, args);
}

}  // namespace twofour
