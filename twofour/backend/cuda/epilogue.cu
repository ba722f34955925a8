#include "twofour/backend/cuda/cuda_launcher.cuh"
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/backend/cuda/kernel_launch.h"

namespace twofour::cuda {

void run_epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                  const EpilogueArgs& args, StreamHandle stream) {
  check_epilogue(input, output, args);
  launch_epilogue(CudaLauncher(stream, "the epilogue kernel"), input, output, activation, args);
}

void NvidiaKernels::epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                             const EpilogueArgs& args, StreamHandle stream) {
  run_epilogue(input, output, activation, args, stream);
}

EncoderKernels& encoder_kernels() {
  static NvidiaKernels kernels;
  return kernels;
}

}  // namespace twofour::cuda
