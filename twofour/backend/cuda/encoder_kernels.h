// The kernels of an encoder between its products, behind an interface: NVIDIA's devices launch
// them, tests run the same bodies on the host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "twofour/backend/cuda/attention.h"
#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/layer_norm.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/backend/cuda/sequence_kernels.h"
#include "twofour/backend/cuda/spmm24_cutlass.h"
#include "twofour/backend/cuda/spmm24_mma.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// What a grid must cover; the numbers of a batch may be smaller.
struct AttentionExtent {
  int64_t sequences = 0, heads = 0;
  int64_t longest = 0;  // tokens of a sequence
};

// All enqueue on `stream` of the current device; pointers are to device memory, rows of matrices
// are aligned to 16 bytes, `rows` and `sequences` are at least as many as the device's own counts
// say. Float types are kF16, kBF16 and kF32. Throw Error where the launch fails.
class EncoderKernels {
 public:
  virtual ~EncoderKernels() = default;

  virtual void take_batch(const TakeBatchArgs& args, StreamHandle stream) = 0;
  virtual void embed(DType type, int64_t rows, const EmbeddingArgs& args, StreamHandle stream) = 0;
  // `product` is kI32 or `type`.
  virtual void layer_norm(DType product, DType type, int64_t rows, const LayerNormArgs& args,
                          StreamHandle stream) = 0;
  virtual void attend(DType type, const AttentionExtent& extent, const DeviceAttentionArgs& args,
                      StreamHandle stream) = 0;
  virtual void pool(DType type, int64_t sequences, const PoolArgs& args, StreamHandle stream) = 0;
  virtual void normalize(DType type, int64_t rows, const NormalizeArgs& args,
                         StreamHandle stream) = 0;
  virtual void head(DType type, int64_t rows, const HeadArgs& args, StreamHandle stream) = 0;
  // As spmm24_mma.h and check_spmm24_mma() say: `type` and `output` are kF16, kBF16 or kI8.
  virtual void spmm24_mma(DType type, DType output, std::optional<ActivationKind> activation,
                          const Spmm24MmaArgs& args, StreamHandle stream) = 0;
  // Why this build has not this form of spmm24_cutlass(); empty where it has.
  virtual std::string spmm24_cutlass_missing(CutlassForm form) const = 0;
  // As spmm24_cutlass.h and check_spmm24_cutlass() say.
  virtual void spmm24_cutlass(int variant, DType type, DType output,
                              std::optional<ActivationKind> activation,
                              const Spmm24CutlassArgs& args, StreamHandle stream) = 0;
  // As run_epilogue() of epilogue_launch.h.
  virtual void epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                        const EpilogueArgs& args, StreamHandle stream) = 0;
};

// Those of this build. Throws Error in a build without CUDA.
EncoderKernels& encoder_kernels();

}  // namespace twofour::cuda
