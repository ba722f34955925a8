#include "twofour/tensorrt/spmm_plugin_core.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "twofour/backend/cuda/spmm24.h"
#include "twofour/base/error.h"
#include "twofour/tensorrt/spmm_state.h"

namespace twofour::tensorrt {
namespace {

constexpr int64_t kUnknown = -1;

}  // namespace

SpmmPluginCore::SpmmPluginCore(SpmmDefinition definition, ResourcesSource resources)
    : weights_(std::make_shared<SpmmWeights>(std::move(definition))),
      resources_(std::move(resources)) {}

std::vector<int64_t> SpmmPluginCore::output_shape(std::span<const int64_t> input) const {
  const SpmmDefinition& d = definition();
  if (input.size() < 2 || (input.back() != d.k && input.back() != kUnknown)) {
    throw Error(d.name, fmt::format("x is [{}], expected [..., {}]", fmt::join(input, ", "), d.k));
  }
  std::vector<int64_t> output(input.begin(), input.end());
  output.back() = d.n;
  return output;
}

bool SpmmPluginCore::supports(int position, TensorFormat format) const {
  const DType expected = position < kInputs ? definition().type : definition().output_type();
  return format.linear && format.type == expected;
}

DType SpmmPluginCore::output_type(DType input) const {
  const SpmmDefinition& d = definition();
  if (input != d.type) {
    throw Error(d.name, fmt::format("x is {}, expected {}", dtype_name(input), dtype_name(d.type)));
  }
  return d.output_type();
}

int64_t SpmmPluginCore::rows(std::span<const int64_t> input) const {
  const std::vector<int64_t> output = output_shape(input);
  int64_t m = 1;
  for (size_t i = 0; i + 1 < output.size(); ++i) {
    if (output[i] < 0) {
      throw Error(definition().name,
                  fmt::format("x is [{}], expected known dimensions", fmt::join(input, ", ")));
    }
    m *= output[i];
  }
  return m;
}

cuda::PlanCache& SpmmPluginCore::plans() const {
  return resources_().plans(definition().max_m, definition().bucket_step);
}

size_t SpmmPluginCore::workspace_bytes(int64_t m) const {
  if (m == 0) return 0;
  const int device = resources_().device();
  const DeviceWeights& weights = weights_->on(device, resources_());
  return cuda::spmm24_workspace_bytes(plans(), weights.product, m, device);
}

void SpmmPluginCore::attach() const { weights_->on(resources_().device(), resources_()); }

void SpmmPluginCore::set_rows(int64_t m) const {
  if (m == 0) return;
  const int device = resources_().device();
  const DeviceWeights& weights = weights_->on(device, resources_());
  cuda::prepare_spmm24(plans(), weights.product, m, m, device);
}

void SpmmPluginCore::enqueue(int64_t m, const void* x, void* y, void* workspace,
                             cuda::StreamHandle stream) const {
  if (m == 0) return;
  static constexpr float kOne = 1;
  const int device = resources_().device();
  const DeviceWeights& weights = weights_->on(device, resources_());
  // TensorRT gives no memory behind the last row.
  cuda::SpmmArgs args{m, m, x, weights.weight.data(), y, &kOne};
  if (weights.product.channel_scales)
    args.alpha = reinterpret_cast<const float*>(weights.scale.data());
  cuda::spmm24(plans(), weights.product, args, device, stream, static_cast<std::byte*>(workspace));
  if (definition().epilogue == Epilogue::kBiasGelu) run_epilogue(weights, m, y, stream);
}

void SpmmPluginCore::run_epilogue(const DeviceWeights& weights, int64_t m, void* y,
                                  cuda::StreamHandle stream) const {
  const SpmmDefinition& d = definition();
  cuda::EpilogueArgs args;
  args.x = y;
  args.y = y;
  args.m = m;
  args.n = args.x_stride = args.y_stride = d.n;
  args.bias = reinterpret_cast<const float*>(weights.bias.data());
  resources_().epilogue()(d.output_type(), d.output_type(), ActivationKind::kGelu, args, stream);
}

std::string SpmmPluginCore::serialize() const { return tensorrt::serialize(definition()); }

SpmmPluginCore SpmmPluginCore::deserialize(std::string_view bytes, ResourcesSource resources) {
  return {tensorrt::deserialize(bytes), std::move(resources)};
}

}  // namespace twofour::tensorrt
