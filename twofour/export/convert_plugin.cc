#include <algorithm>

#include "twofour/export/graph_converter.h"
#include "twofour/export/written_layers.h"
#include "twofour/graph/spmm_node.h"

namespace twofour {
namespace {

// GELU of an int8 product stays in the graph: TensorRT fuses it with the quantization that follows,
// while the plug-in would write fp16 twice.
std::optional<std::string> epilogue_of(ActivationKind activation, bool int8) {
  if (activation == ActivationKind::kRelu) return spmm_node::kBiasRelu;
  if (activation == ActivationKind::kGelu && !int8) return spmm_node::kBiasGelu;
  return std::nullopt;
}

}  // namespace

std::optional<std::string> GraphConverter::plugin(const Op& op) {
  onnx::TensorProto weight = plugin_weight(op);
  const WrittenLayer layer = written_layer(network_, op, weight, LayerForm::kPlugin);
  if (!refusal(layer, "cusparselt").empty()) return std::nullopt;
  ++summary_.plugin_layers;
  return plugin_node(op, std::move(weight));
}

onnx::TensorProto GraphConverter::plugin_weight(const Op& op) const {
  const Parameter& parameter = network_.parameter(op, 0);
  const std::vector<int64_t>& dims = parameter.shape.dims();
  if (is_int8(network_, op, model_)) {
    return OnnxGraphBuilder::int8_tensor(parameter.name, dims,
                                         model_.tensor(parameter.name).as<int8_t>());
  }
  const Tensor weight = load(op, 0);
  const auto values = weight.as<const float>();
  return half(op) ? OnnxGraphBuilder::half_tensor(parameter.name, dims, values)
                  : OnnxGraphBuilder::float_tensor(parameter.name, dims, values);
}

std::string GraphConverter::plugin_node(const Op& op, onnx::TensorProto weight) {
  const int64_t n = network_.parameter(op, 0).shape[0];
  const bool int8 = is_int8(network_, op, model_);
  if (int8) ++summary_.int8_layers;
  std::vector<OnnxAttribute> attributes = plugin_attributes(op, std::move(weight));
  attributes.push_back({spmm_node::kEpilogue, fused_epilogue(op).value_or(spmm_node::kBiasOnly)});
  const std::string y = graph_.custom_node(spmm_node::kDomain, spmm_node::kType, op.name + "/Spmm",
                                           {int8 ? quantized(op) : input(op)}, attributes);
  // Nobody but TensorRT can infer it.
  OnnxGraphBuilder::describe(*proto_.add_value_info(), y, onnx::TensorProto::FLOAT16,
                             {OnnxGraphBuilder::kBatch, OnnxGraphBuilder::kSequence, n});
  return int8 ? as_float(y, op.name + "/Widened") : y;
}

std::vector<OnnxAttribute> GraphConverter::plugin_attributes(const Op& op,
                                                             onnx::TensorProto weight) const {
  const Parameter& parameter = network_.parameter(op, 0);
  const int64_t n = parameter.shape[0];
  const Tensor bias = load(op, 1);
  const bool int8 = is_int8(network_, op, model_);
  std::vector<OnnxAttribute> attributes{
      {spmm_node::kVersionAttribute, std::string(spmm_node::kVersion)},
      {spmm_node::kNamespaceAttribute, std::string(spmm_node::kNamespace)},
      {spmm_node::kN, n},
      {spmm_node::kK, parameter.shape[1]},
      {spmm_node::kDtype, std::string(int8 ? spmm_node::kInt8 : spmm_node::kFp16)},
      {spmm_node::kMaxM, options_.plugin_max_m},
      {spmm_node::kBucketStep, int64_t{spmm_node::kDefaultBucketStep}},
      {spmm_node::kWeight, std::move(weight)},
      {spmm_node::kBias, OnnxGraphBuilder::float_tensor(network_.parameter(op, 1).name, {n},
                                                        bias.as<const float>())}};
  if (!int8) return attributes;
  const std::string scale_name = parameter.name + "_scale";
  const Tensor scales = to_f32(model_.tensor(scale_name), scale_name);
  const float input_scale = quantized_[op.inputs[0]].scale;
  attributes.push_back({spmm_node::kWeightScale,
                        OnnxGraphBuilder::float_tensor(scale_name, {n}, scales.as<const float>())});
  attributes.push_back(
      {spmm_node::kInputScale,
       OnnxGraphBuilder::float_tensor(op.name + ".input_scale", {1}, {&input_scale, 1})});
  return attributes;
}

std::optional<std::string> GraphConverter::fused_epilogue(const Op& op) {
  const Op* reader = nullptr;
  for (const Op& other : network_.ops) {
    if (std::find(other.inputs.begin(), other.inputs.end(), op.output) == other.inputs.end())
      continue;
    if (reader != nullptr) return std::nullopt;
    reader = &other;
  }
  if (reader == nullptr || reader->kind != OpKind::kActivation) return std::nullopt;
  auto epilogue = epilogue_of(reader->activation, is_int8(network_, op, model_));
  if (epilogue) fused_.insert(reader->output);
  return epilogue;
}

}  // namespace twofour
