// The encoder's kernels on the host, for tests: the bodies that devices run, over the stand-in of
// the runtime. Tests link twofour_cuda_testing for it.
#pragma once

#include <functional>
#include <optional>

#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/testing.h"

namespace twofour::cuda {

// A launch fails where FakeRuntime::failures says so for "kernel".
class HostKernels final : public EncoderKernels {
 public:
  explicit HostKernels(FakeRuntime& runtime) : runtime_(runtime) {}

  void take_batch(const TakeBatchArgs& args, StreamHandle stream) override;
  void embed(DType type, int64_t rows, const EmbeddingArgs& args, StreamHandle stream) override;
  void layer_norm(DType product, DType type, int64_t rows, const LayerNormArgs& args,
                  StreamHandle stream) override;
  void attend(DType type, const AttentionExtent& extent, const DeviceAttentionArgs& args,
              StreamHandle stream) override;
  void pool(DType type, int64_t sequences, const PoolArgs& args, StreamHandle stream) override;
  void normalize(DType type, int64_t rows, const NormalizeArgs& args, StreamHandle stream) override;
  void head(DType type, int64_t rows, const HeadArgs& args, StreamHandle stream) override;
  void spmm24_mma(DType type, DType output, std::optional<ActivationKind> activation,
                  const Spmm24MmaArgs& args, StreamHandle stream) override;
  std::string spmm24_cutlass_missing(CutlassForm form) const override;
  void spmm24_cutlass(int variant, DType type, DType output,
                      std::optional<ActivationKind> activation, const Spmm24CutlassArgs& args,
                      StreamHandle stream) override;
  void epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                const EpilogueArgs& args, StreamHandle stream) override;

 private:
  void run(StreamHandle stream, std::function<void()> work);

  FakeRuntime& runtime_;
};

}  // namespace twofour::cuda
