#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avxvnni.h"
#include "twofour/backend/cpu/tile_matmul_impl.h"

namespace twofour {

size_t matmul_s8_avxvnni_scratch(const PackedWeights& w, int64_t m) {
  return dense_scratch<S8>(w, m);
}

void matmul_s8_avxvnni(const PackedWeights& w, const MatmulArgs& args) { run_dense<S8>(w, args); }

}  // namespace twofour
