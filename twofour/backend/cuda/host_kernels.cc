// Compiled once for all tests: the bodies of every kernel and type take a while.
#include "twofour/backend/cuda/host_kernels.h"

#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/host_mma_sp.h"
#include "twofour/backend/cuda/host_spmm24_cutlass.h"
#include "twofour/backend/cuda/kernel_launch.h"
#include "twofour/backend/cuda/spmm24_mma_launch.h"

namespace twofour::cuda {

void HostKernels::take_batch(const TakeBatchArgs& args, StreamHandle stream) {
  run(stream, [=] { launch_take_batch(HostLauncher{}, args); });
}

void HostKernels::embed(DType type, int64_t rows, const EmbeddingArgs& args, StreamHandle stream) {
  run(stream, [=] { launch_embedding(HostLauncher{}, type, rows, args); });
}

void HostKernels::layer_norm(DType product, DType type, int64_t rows, const LayerNormArgs& args,
                             StreamHandle stream) {
  run(stream, [=] { launch_layer_norm(HostLauncher{}, product, type, rows, args); });
}

void HostKernels::attend(DType type, const AttentionExtent& extent, const DeviceAttentionArgs& args,
                         StreamHandle stream) {
  run(stream, [=] { launch_attention(HostLauncher{}, type, extent, args); });
}

void HostKernels::pool(DType type, int64_t sequences, const PoolArgs& args, StreamHandle stream) {
  run(stream, [=] { launch_pool(HostLauncher{}, type, sequences, args); });
}

void HostKernels::normalize(DType type, int64_t rows, const NormalizeArgs& args,
                            StreamHandle stream) {
  run(stream, [=] { launch_normalize(HostLauncher{}, type, rows, args); });
}

void HostKernels::head(DType type, int64_t rows, const HeadArgs& args, StreamHandle stream) {
  run(stream, [=] { launch_head(HostLauncher{}, type, rows, args); });
}

void HostKernels::spmm24_mma(DType type, DType output, std::optional<ActivationKind> activation,
                             const Spmm24MmaArgs& args, StreamHandle stream) {
  check_spmm24_mma(type, output, args);
  run(stream, [=] { launch_spmm24_mma(HostLauncher{}, type, output, activation, args); });
}

std::string HostKernels::spmm24_cutlass_missing(CutlassForm) const { return ""; }

void HostKernels::spmm24_cutlass(int variant, DType type, DType output,
                                 std::optional<ActivationKind> activation,
                                 const Spmm24CutlassArgs& args, StreamHandle stream) {
  check_spmm24_cutlass(variant, type, output, args);
  run(stream, [=] { host_spmm24_cutlass(variant, type, output, activation, args); });
}

void HostKernels::epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                           const EpilogueArgs& args, StreamHandle stream) {
  check_epilogue(input, output, args);
  run(stream, [=] { launch_epilogue(HostLauncher{}, input, output, activation, args); });
}

void HostKernels::run(StreamHandle stream, std::function<void()> work) {
  check(runtime_, runtime_.enqueue("kernel", stream, std::move(work)), "a kernel");
}

}  // namespace twofour::cuda
