#include "twofour/backend/cuda/cuda_launcher.cuh"
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/backend/cuda/kernel_launch.h"

namespace twofour::cuda {

void NvidiaKernels::attend(DType type, const AttentionExtent& extent,
                           const DeviceAttentionArgs& args, StreamHandle stream) {
  launch_attention(CudaLauncher(stream, "the attention kernel"), type, extent, args);
}

}  // namespace twofour::cuda
