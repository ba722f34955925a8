#include "twofour/export/quantization.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr double kUnbounded = -std::numeric_limits<double>::infinity();
constexpr double kRounding = 1.001;  // f32 arithmetic may step a little over an exact bound

float input_scale(const Op& op, const ModelDirectory& model) {
  const std::string name = op.name + ".input_scale";
  return to_f32(model.tensor(name), name).as<float>()[0];
}

double activation_bound(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kGelu:      // least value -0.16997
    case ActivationKind::kGeluTanh:  // -0.17004
      return -0.1701;
    case ActivationKind::kRelu:
      return 0;
    case ActivationKind::kTanh:
      return -1;
  }
  return kUnbounded;
}

// A normalized row of `width` values has norm sqrt(width) at most and mean 0, so no element is
// beyond sqrt(width - 1).
double layer_norm_bound(const Network& network, const Op& op, const ModelDirectory& model) {
  const std::string& gamma_name = network.parameter(op, 0).name;
  const std::string& beta_name = network.parameter(op, 1).name;
  const Tensor gamma = to_f32(model.tensor(gamma_name), gamma_name);
  const Tensor beta = to_f32(model.tensor(beta_name), beta_name);
  const double reach = std::sqrt(static_cast<double>(gamma.numel() - 1)) * kRounding;
  double bound = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < gamma.numel(); ++i) {
    const double least = beta.as<float>()[i] - std::fabs(gamma.as<float>()[i]) * reach;
    bound = std::min(bound, least);
  }
  return bound;
}

}  // namespace

bool is_int8(const Network& network, const Op& op, const ModelDirectory& model) {
  return op.kind == OpKind::kLinear &&
         model.tensor(network.parameter(op, 0).name).dtype == DType::kI8;
}

std::vector<QuantizedValue> quantized_values(const Network& network, const ModelDirectory& model) {
  std::vector<QuantizedValue> values(network.values.size());
  for (const Op& op : network.ops) {
    if (!is_int8(network, op, model)) continue;
    QuantizedValue& value = values[op.inputs[0]];
    const float scale = input_scale(op, model);
    if (value.scale != 0 && value.scale != scale) {
      throw Error(
          model.origin(),
          fmt::format("tensor '{}.input_scale' is {}, but another layer that reads '{}' has {}",
                      op.name, scale, network.values[op.inputs[0]].name, value.scale),
          "Layers that read one value must have one input scale");
    }
    value.scale = scale;
    value.clip = lower_bound(network, op.inputs[0], model) <= -127.5 * scale;
  }
  return values;
}

double lower_bound(const Network& network, ValueId value, const ModelDirectory& model) {
  const auto producer = std::find_if(network.ops.begin(), network.ops.end(),
                                     [&](const Op& op) { return op.output == value; });
  if (producer == network.ops.end()) return kUnbounded;
  if (producer->kind == OpKind::kActivation) return activation_bound(producer->activation);
  if (producer->kind == OpKind::kLayerNorm) return layer_norm_bound(network, *producer, model);
  return kUnbounded;
}

}  // namespace twofour
