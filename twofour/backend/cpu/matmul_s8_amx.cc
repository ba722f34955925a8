#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_amx.h"
#include "twofour/backend/cpu/tile_amx_impl.h"
#include "twofour/backend/cpu/tile_matmul_amx_impl.h"

namespace twofour {

size_t matmul_s8_amx_scratch(const PackedWeights& w, int64_t m) {
  return dense_amx_scratch<S8Amx>(w, m);
}

void matmul_s8_amx(const PackedWeights& w, const MatmulArgs& args) {
  run_dense_amx<S8Amx>(w, args);
}

}  // namespace twofour
