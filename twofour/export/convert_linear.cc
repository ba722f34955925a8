#include "twofour/export/graph_converter.h"

namespace twofour {
namespace {

// [n, k] -> [k, n], the order in which ONNX multiplies.
template <class T>
std::vector<T> transposed(std::span<const T> values, int64_t n, int64_t k) {
  std::vector<T> out(values.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < k; ++j) out[j * n + i] = values[i * k + j];
  }
  return out;
}

}  // namespace

Tensor GraphConverter::load(const Op& op, size_t index) const {
  const std::string& name = network_.parameter(op, index).name;
  return to_f32(model_.tensor(name), name);
}

std::string GraphConverter::parameter(const Op& op, size_t index) {
  const Parameter& parameter = network_.parameter(op, index);
  std::vector<int64_t> dims;
  for (size_t i = 0; i < parameter.shape.rank(); ++i) dims.push_back(parameter.shape[i]);
  const Tensor tensor = load(op, index);
  return floats(op, parameter.name, dims, tensor.as<float>());
}

std::string GraphConverter::channel_parameter(const Op& op, size_t index) {
  const Parameter& parameter = network_.parameter(op, index);
  const Tensor tensor = load(op, index);
  return floats(op, parameter.name, {tensor.numel(), 1, 1}, tensor.as<float>());
}

std::string GraphConverter::floats(const Op& op, const std::string& name,
                                   const std::vector<int64_t>& dims,
                                   std::span<const float> values) {
  const bool narrow = half(op) && op.kind != OpKind::kLayerNorm;
  return narrow ? graph_.halves(name, dims, values) : graph_.floats(name, dims, values);
}

std::string GraphConverter::linear(const Op& op) {
  ++summary_.linear_layers;
  if (options_.plugin) {
    if (auto result = plugin(op)) return *result;
  }
  const bool int8 = is_int8(network_, op, model_);
  const std::string x = int8 ? dequantized(op) : input(op);
  const std::string weight = int8 ? int8_weight(op) : float_weight(op);
  if (output_layout(op) == Layout::kChannels) return convolution(op, x, weight);
  const std::string product = node(op, "MatMul", "MatMul", {x, weight});
  return node(op, "Bias", "Add", {product, parameter(op, 1)});
}

std::string GraphConverter::convolution(const Op& op, const std::string& x,
                                        const std::string& weight) {
  ++summary_.convolutions;
  return node(op, "Conv", "Conv", {x, weight, parameter(op, 1)},
              {{"kernel_shape", std::vector<int64_t>{1, 1}}});
}

std::string GraphConverter::float_weight(const Op& op) {
  const Parameter& parameter = network_.parameter(op, 0);
  const int64_t n = parameter.shape[0], k = parameter.shape[1];
  const Tensor weight = load(op, 0);
  const auto values = weight.as<const float>();
  if (output_layout(op) == Layout::kChannels) {
    return floats(op, parameter.name, {n, k, 1, 1}, values);
  }
  return floats(op, parameter.name, {k, n}, transposed(values, n, k));
}

std::string GraphConverter::int8_weight(const Op& op) {
  const Parameter& parameter = network_.parameter(op, 0);
  const int64_t n = parameter.shape[0], k = parameter.shape[1];
  const TensorView weight = model_.tensor(parameter.name);
  ++summary_.int8_layers;
  const bool convolves = output_layout(op) == Layout::kChannels;
  const auto values = weight.as<int8_t>();
  const std::string stored = convolves
                                 ? graph_.int8s(parameter.name, {n, k, 1, 1}, values)
                                 : graph_.int8s(parameter.name, {k, n}, transposed(values, n, k));
  const std::string scale_name = parameter.name + "_scale";
  const Tensor scales = to_f32(model_.tensor(scale_name), scale_name);
  const std::string zeros =
      graph_.int8s(parameter.name + "_zero_point", {n}, std::vector<int8_t>(n, 0));
  return node(op, "DequantizeWeight", "DequantizeLinear",
              {stored, graph_.floats(scale_name, {n}, scales.as<float>()), zeros},
              {{"axis", int64_t{convolves ? 0 : 1}}});
}

std::string GraphConverter::quantized(const Op& op, size_t index) {
  const ValueId value = op.inputs[index];
  const std::string& x = input(op, index);
  std::string q = x + "/QuantizeLinear";
  if (!quantized_names_.contains(q)) {
    quantize(value, x, q, graph_.scalar(quantized_[value].scale));
  }
  return q;
}

std::string GraphConverter::dequantized(const Op& op, size_t index) {
  const std::string& x = input(op, index);
  const std::string q = quantized(op, index);
  const std::string scale = graph_.scalar(quantized_[op.inputs[index]].scale);
  std::string dq = (options_.target.dequantize_per_reader ? op.name : x) + "/DequantizeLinear";
  if (!quantized_names_.insert(dq).second) return dq;
  return graph_.node("DequantizeLinear", dq, {q, scale, zero_point()});
}

std::string GraphConverter::zero_point() {
  return options_.target.unsigned_activations ? graph_.uint8(128) : graph_.int8(0);
}

void GraphConverter::quantize(ValueId value, std::string x, const std::string& q,
                              const std::string& scale) {
  ++summary_.quant_points;
  if (options_.clip && quantized_[value].clip) {
    ++summary_.clipped_points;
    x = graph_.node("Clip", x + "/Clip", {x, graph_.scalar(-127 * quantized_[value].scale)});
  }
  graph_.node("QuantizeLinear", q, {x, scale, zero_point()});
  quantized_names_.insert(q);
}

}  // namespace twofour
