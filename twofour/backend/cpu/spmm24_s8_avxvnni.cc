#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avxvnni.h"
#include "twofour/backend/cpu/tile_spmm24_impl.h"

namespace twofour {

size_t spmm24_s8_avxvnni_scratch(const PackedWeights& w, int64_t m) {
  return sparse_scratch<S8>(w, m);
}

void spmm24_s8_avxvnni(const PackedWeights& w, const MatmulArgs& args) {
  run_sparse<S8, ExpandByShifts>(w, args);
}

}  // namespace twofour
