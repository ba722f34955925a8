#include "twofour/backend/cuda/spmm24_cutlass_sm90.cuh"

namespace twofour::cuda {

void run_spmm24_cutlass_sm90_half(const Spmm24CutlassLaunch& launch) {
  if (launch.type == DType::kF16)
    return sm90::run_tile<cutlass::half_t, float, cutlass::half_t>(launch);
  sm90::run_tile<cutlass::bfloat16_t, float, cutlass::bfloat16_t>(launch);
}

}  // namespace twofour::cuda
