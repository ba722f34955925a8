#include "twofour/runtime/stacked_linear.h"

#include <algorithm>
#include <cstring>

#include "twofour/sparse/sparse24.h"

namespace twofour {
namespace {

// [a, ...] and [b, ...] to [a + b, ...].
Tensor stack(std::span<const Tensor> parts) {
  if (parts[0].numel() == 0) return Tensor();
  std::vector<int64_t> dims = parts[0].shape().dims();
  dims[0] = 0;
  for (const Tensor& part : parts) dims[0] += part.shape()[0];
  Tensor out(parts[0].dtype(), Shape(dims));
  std::byte* end = out.data();
  for (const Tensor& part : parts) {
    std::memcpy(end, part.data(), part.bytes());
    end += part.bytes();
  }
  return out;
}

const std::string& weight_name(const Network& network, const Op& linear) {
  return network.parameter(linear, 0).name;
}

bool is_sparse24(const Tensor& weight) {
  return weight.shape()[1] % 4 == 0 && !find_violation(weight);
}

Tensor load_weight(const Network& network, const ModelDirectory& model, const Op& linear) {
  const std::string& name = weight_name(network, linear);
  const TensorView stored = model.tensor(name);
  return is_int8(network, model, linear) ? Tensor(stored) : to_f32(stored, name);
}

}  // namespace

bool is_int8(const Network& network, const ModelDirectory& model, const Op& linear) {
  return model.tensor(weight_name(network, linear)).dtype == DType::kI8;
}

WeightSource StackedLinear::source() const {
  return {weight,
          desc.type == MatmulType::kS8 ? scales.as<const float>() : std::span<const float>(),
          bias.as<const float>()};
}

StackedLinear load_linear(const Network& network, const ModelDirectory& model,
                          std::span<const Op* const> parts, MatmulType float_type) {
  const bool int8 = is_int8(network, model, *parts[0]);
  std::vector<Tensor> weights, scales, biases;
  for (const Op* op : parts) {
    const std::string& name = weight_name(network, *op);
    const std::string& bias = network.parameter(*op, 1).name;
    weights.push_back(load_weight(network, model, *op));
    scales.push_back(int8 ? to_f32(model.tensor(name + "_scale"), name) : Tensor());
    biases.push_back(to_f32(model.tensor(bias), bias));
  }
  StackedLinear out{{}, stack(weights), stack(scales), stack(biases)};
  out.desc = {out.weight.shape()[0], out.weight.shape()[1], int8 ? MatmulType::kS8 : float_type,
              is_sparse24(out.weight)};
  return out;
}

bool can_stack(const Network& network, const ModelDirectory& model,
               std::span<const Op* const> parts) {
  const auto same = [&](auto property) {
    return std::all_of(parts.begin(), parts.end(),
                       [&](const Op* op) { return property(*op) == property(*parts[0]); });
  };
  return same([](const Op& op) { return op.inputs[0]; }) &&
         same([&](const Op& op) { return is_int8(network, model, op); }) &&
         same([&](const Op& op) { return is_sparse24(load_weight(network, model, op)); });
}

}  // namespace twofour
