#include <cuda_runtime_api.h>

#include <algorithm>

#include "twofour/backend/cuda/epilogue_launch.h"

namespace twofour::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaximumBlocks = 1 << 16;  // beyond, threads take several packs

template <EpilogueActivation kActivation, class In, class Out>
__global__ void epilogue_kernel(EpilogueArgs args) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  epilogue_thread<kActivation, In, Out>(args, thread, static_cast<int64_t>(gridDim.x) * blockDim.x);
}

}  // namespace

void run_epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                  const EpilogueArgs& args, StreamHandle stream) {
  check_epilogue(input, output, activation, args);
  const int64_t packs = args.m * (args.n / kEpilogueWidth);
  if (packs == 0) return;
  const int64_t blocks = std::min((packs + kThreads - 1) / kThreads, kMaximumBlocks);
  with_epilogue_types(
      input, output, activation, [&]<EpilogueActivation kActivation, class In, class Out>() {
        epilogue_kernel<kActivation, In, Out>
            <<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
                args);
      });
  check(runtime(), static_cast<Status>(cudaGetLastError()), "the epilogue kernel");
}

}  // namespace twofour::cuda
