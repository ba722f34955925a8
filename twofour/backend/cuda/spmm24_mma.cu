#include "twofour/backend/cuda/cuda_launcher.cuh"
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/backend/cuda/spmm24_mma_launch.h"

namespace twofour::cuda {

void NvidiaKernels::spmm24_mma(DType type, DType output, std::optional<ActivationKind> activation,
                               const Spmm24MmaArgs& args, StreamHandle stream) {
  check_spmm24_mma(type, output, args);
  if (args.m == 0) return;
  launch_spmm24_mma(CudaLauncher(stream, "the kernel spmm24_mma"), type, output, activation, args);
}

}  // namespace twofour::cuda
