#include "twofour/backend/cuda/cuda_launcher.cuh"
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/backend/cuda/kernel_launch.h"

namespace twofour::cuda {

void NvidiaKernels::embed(DType type, int64_t rows, const EmbeddingArgs& args,
                          StreamHandle stream) {
  launch_embedding(CudaLauncher(stream, "the embedding kernel"), type, rows, args);
}

void NvidiaKernels::layer_norm(DType product, DType type, int64_t rows, const LayerNormArgs& args,
                               StreamHandle stream) {
  launch_layer_norm(CudaLauncher(stream, "the LayerNorm kernel"), product, type, rows, args);
}

}  // namespace twofour::cuda
