#include "twofour/backend/cuda/cuda_launcher.cuh"
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/backend/cuda/kernel_launch.h"

namespace twofour::cuda {

void NvidiaKernels::take_batch(const TakeBatchArgs& args, StreamHandle stream) {
  launch_take_batch(CudaLauncher(stream, "the kernel that takes a batch"), args);
}

void NvidiaKernels::pool(DType type, int64_t sequences, const PoolArgs& args, StreamHandle stream) {
  launch_pool(CudaLauncher(stream, "the pooling kernel"), type, sequences, args);
}

void NvidiaKernels::normalize(DType type, int64_t rows, const NormalizeArgs& args,
                              StreamHandle stream) {
  launch_normalize(CudaLauncher(stream, "the normalization kernel"), type, rows, args);
}

void NvidiaKernels::head(DType type, int64_t rows, const HeadArgs& args, StreamHandle stream) {
  launch_head(CudaLauncher(stream, "the head kernel"), type, rows, args);
}

}  // namespace twofour::cuda
