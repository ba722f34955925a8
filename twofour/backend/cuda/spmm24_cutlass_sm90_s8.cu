#include "twofour/backend/cuda/spmm24_cutlass_sm90.cuh"

namespace twofour::cuda {

void run_spmm24_cutlass_sm90_s8(const Spmm24CutlassLaunch& launch) {
  switch (launch.output) {
    case Spmm24CutlassOutput::kS8:
      return sm90::run_tile<int8_t, int32_t, int8_t>(launch);
    case Spmm24CutlassOutput::kF16:
      return sm90::run_tile<int8_t, int32_t, cutlass::half_t>(launch);
    case Spmm24CutlassOutput::kBf16:
      return sm90::run_tile<int8_t, int32_t, cutlass::bfloat16_t>(launch);
  }
}

}  // namespace twofour::cuda
