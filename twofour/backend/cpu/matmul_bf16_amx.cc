#include "twofour/backend/cpu/bf16_amx.h"
#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_amx_impl.h"
#include "twofour/backend/cpu/tile_matmul_amx_impl.h"

namespace twofour {

size_t matmul_bf16_amx_scratch(const PackedWeights& w, int64_t m) {
  return dense_amx_scratch<Bf16Amx>(w, m);
}

void matmul_bf16_amx(const PackedWeights& w, const MatmulArgs& args) {
  run_dense_amx<Bf16Amx>(w, args);
}

}  // namespace twofour
