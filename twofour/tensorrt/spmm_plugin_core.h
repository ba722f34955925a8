// The plug-in SpmmPluginDynamic without TensorRT: all that it does. plugin/plugin_v2.h and
// plugin/plugin_v3.h translate TensorRT's calls into these.
//
//   x  [..., k]  of the definition's type, row-major
//   y  [..., n]  of its output_type()
//
// y = activation(input_scale * weight_scale * x W^T + bias), the weight 2:4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/tensorrt/spmm_definition.h"
#include "twofour/tensorrt/spmm_resources.h"
#include "twofour/tensorrt/spmm_weights.h"

namespace twofour::tensorrt {

// A tensor's type and whether its elements lie in row-major order, without padding.
struct TensorFormat {
  DType type = DType::kF32;
  bool linear = true;
};

// Copies share the weights: on the host, and on each device. Every function may be called by
// several threads at once, on one object or on copies.
class SpmmPluginCore {
 public:
  SpmmPluginCore(SpmmDefinition definition, ResourcesSource resources);

  static constexpr int kInputs = 1, kOutputs = 1;

  const SpmmDefinition& definition() const { return weights_->definition(); }

  // Shape inference. -1 stands for a dimension that is not known yet. Throws Error unless the last
  // one is k or unknown and there is one before it.
  std::vector<int64_t> output_shape(std::span<const int64_t> input) const;

  // x is number 0, y number 1; `format` is that of number `position`.
  bool supports(int position, TensorFormat format) const;
  // Throws Error for an x of another type than the definition's.
  DType output_type(DType input) const;

  // The number of rows of a shape. Throws Error where a dimension is not known or the last is not
  // k.
  int64_t rows(std::span<const int64_t> input) const;

  // For products of up to m rows: the maximum over the plans of all buckets, which it makes, and
  // room for rows that fill no bucket. On the current device.
  size_t workspace_bytes(int64_t m) const;

  // Compresses the weight for the current device, unless it is there.
  void attach() const;

  // Makes the plans of m rows for the calling thread and the current device, so that enqueue()
  // finds them.
  void set_rows(int64_t m) const;

  // y for m rows, on the current device. `workspace` has workspace_bytes(m) bytes or more, aligned
  // to 256. With neither attach() nor set_rows() before, it does their work first.
  void enqueue(int64_t m, const void* x, void* y, void* workspace, cuda::StreamHandle stream) const;

  std::string serialize() const;
  static SpmmPluginCore deserialize(std::string_view bytes, ResourcesSource resources);

 private:
  void run_epilogue(const DeviceWeights& weights, int64_t m, void* y,
                    cuda::StreamHandle stream) const;
  cuda::PlanCache& plans() const;

  std::shared_ptr<SpmmWeights> weights_;
  ResourcesSource resources_;
};

}  // namespace twofour::tensorrt
