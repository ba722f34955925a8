// The encoder's kernels on the host, for tests: the bodies that devices run, over the stand-in of
// the runtime.
#pragma once

#include <string>

#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/kernel_launch.h"
#include "twofour/backend/cuda/testing.h"

namespace twofour::cuda {

// A launch fails where FakeRuntime::failures says so for "kernel".
class HostKernels final : public EncoderKernels {
 public:
  explicit HostKernels(FakeRuntime& runtime) : runtime_(runtime) {}

  void take_batch(const TakeBatchArgs& args, StreamHandle stream) override {
    run(stream, [=] { launch_take_batch(HostLauncher{}, args); });
  }
  void embed(DType type, int64_t rows, const EmbeddingArgs& args, StreamHandle stream) override {
    run(stream, [=] { launch_embedding(HostLauncher{}, type, rows, args); });
  }
  void layer_norm(DType product, DType type, int64_t rows, const LayerNormArgs& args,
                  StreamHandle stream) override {
    run(stream, [=] { launch_layer_norm(HostLauncher{}, product, type, rows, args); });
  }
  void attend(DType type, const AttentionExtent& extent, const DeviceAttentionArgs& args,
              StreamHandle stream) override {
    run(stream, [=] { launch_attention(HostLauncher{}, type, extent, args); });
  }
  void pool(DType type, int64_t sequences, const PoolArgs& args, StreamHandle stream) override {
    run(stream, [=] { launch_pool(HostLauncher{}, type, sequences, args); });
  }
  void normalize(DType type, int64_t rows, const NormalizeArgs& args,
                 StreamHandle stream) override {
    run(stream, [=] { launch_normalize(HostLauncher{}, type, rows, args); });
  }
  void head(DType type, int64_t rows, const HeadArgs& args, StreamHandle stream) override {
    run(stream, [=] { launch_head(HostLauncher{}, type, rows, args); });
  }
  void epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                const EpilogueArgs& args, StreamHandle stream) override {
    check_epilogue(input, output, args);
    run(stream, [=] { launch_epilogue(HostLauncher{}, input, output, activation, args); });
  }

 private:
  void run(StreamHandle stream, std::function<void()> work) {
    check(runtime_, runtime_.enqueue("kernel", stream, std::move(work)), "a kernel");
  }

  FakeRuntime& runtime_;
};

}  // namespace twofour::cuda
