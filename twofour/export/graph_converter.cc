#include "twofour/export/graph_converter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr const char* kIds = "input_ids";
constexpr const char* kTypeIds = "token_type_ids";

std::string output_name(HeadKind head) {
  switch (head) {
    case HeadKind::kNone:
      return "last_hidden_state";
    case HeadKind::kClassification:
    case HeadKind::kTokenClassification:
      return "logits";
    case HeadKind::kEmbedding:
      return "embeddings";
  }
  return "output";
}

}  // namespace

GraphConverter::GraphConverter(const ModelDirectory& model, const Network& network,
                               const ExportOptions& options, onnx::GraphProto& graph,
                               ExportSummary& summary)
    : model_(model),
      network_(network),
      options_(options),
      proto_(graph),
      graph_(graph),
      summary_(summary),
      quantized_(quantized_values(network, model)),
      rows_(network.values.size()),
      channels_(network.values.size()) {}

void GraphConverter::convert() {
  for (const char* input : {kIds, kAttentionMask, kTypeIds}) {
    OnnxGraphBuilder::describe(*proto_.add_input(), input, onnx::TensorProto::INT64,
                               {OnnxGraphBuilder::kBatch, OnnxGraphBuilder::kSequence});
  }
  for (const Op& op : network_.ops) {
    Names& names = output_layout(op) == Layout::kChannels ? channels_ : rows_;
    names[op.output] = convert(op);
  }
  describe_output();
  summary_.nodes = proto_.node_size();
}

std::string GraphConverter::convert(const Op& op) {
  switch (op.kind) {
    case OpKind::kEmbedding:
      return embedding(op);
    case OpKind::kLinear:
      return linear(op);
    case OpKind::kAttention:
      return attention(op);
    case OpKind::kLayerNorm:
      return layer_norm(op);
    case OpKind::kActivation:
      return activation(op);
    case OpKind::kAdd:
      return add(op);
    case OpKind::kPool:
      return pool(op);
    case OpKind::kNormalize:
      return normalize(op);
  }
  throw Error(op.name, fmt::format("operation {} cannot be exported", op_kind_name(op.kind)));
}

// Known before the op is converted: its inputs are.
Layout GraphConverter::output_layout(const Op& op) const {
  if (op.kind == OpKind::kLinear) {
    return options_.gemm_as_conv && op.prunable ? Layout::kChannels : Layout::kRows;
  }
  if (op.kind == OpKind::kEmbedding || op.kind == OpKind::kPool) return Layout::kRows;
  const bool channels = std::any_of(op.inputs.begin(), op.inputs.end(),
                                    [&](ValueId value) { return rows_[value].empty(); });
  return channels ? Layout::kChannels : Layout::kRows;
}

std::string GraphConverter::node(const Op& op, const std::string& suffix, const std::string& type,
                                 const Names& inputs,
                                 const std::vector<OnnxAttribute>& attributes) {
  return graph_.node(type, op.name + "/" + suffix, inputs, attributes);
}

bool GraphConverter::half(const Op& op) const {
  return options_.half && network_.values[op.output].rows == Rows::kTokens;
}

std::string GraphConverter::scalar(const Op& op, float value) {
  return half(op) ? graph_.half(value) : graph_.scalar(value);
}

std::string GraphConverter::widened(const Op& op, const std::string& suffix, const std::string& x) {
  return half(op) ? as_float(x, op.name + "/" + suffix) : x;
}

std::string GraphConverter::narrowed(const Op& op, const std::string& suffix,
                                     const std::string& x) {
  if (!half(op)) return x;
  return node(op, suffix, "Cast", {x}, {{"to", int64_t{onnx::TensorProto::FLOAT16}}});
}

std::string GraphConverter::embedding(const Op& op) {
  const std::string word = node(op, "Word", "Gather", {parameter(op, 0), kIds});
  const std::string type = node(op, "Type", "Gather", {parameter(op, 2), kTypeIds});
  const std::string length =
      node(op, "Length", "Shape", {kIds}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
  const std::string position =
      node(op, "Position", "Slice",
           {parameter(op, 1), graph_.indices({0}), length, graph_.indices({0})});
  const std::string sum = node(op, "WordAndType", "Add", {word, type});
  return node(op, "Sum", "Add", {sum, position});
}

std::string GraphConverter::layer_norm(const Op& op) {
  if (output_layout(op) == Layout::kChannels) return channel_layer_norm(op);
  const std::string x = widened(op, "Widened", input(op));
  const std::string y =
      node(op, "LayerNormalization", "LayerNormalization", {x, parameter(op, 0), parameter(op, 1)},
           {{"axis", int64_t{-1}}, {"epsilon", static_cast<float>(op.epsilon)}});
  return narrowed(op, "Narrowed", y);
}

// The second input is the residual stream, which the product behind it reads too.
std::string GraphConverter::add(const Op& op) {
  const bool int8 = options_.quantize_residual && quantized_[op.inputs[1]].scale != 0;
  summary_.int8_residuals += int8;
  return node(op, "Add", "Add", {input(op), int8 ? dequantized(op, 1) : input(op, 1)});
}

std::string GraphConverter::activation(const Op& op) {
  if (fused_.contains(op.output)) return input(op);
  switch (op.activation) {
    case ActivationKind::kRelu:
      return node(op, "Relu", "Relu", {input(op)});
    case ActivationKind::kTanh:
      return node(op, "Tanh", "Tanh", {input(op)});
    case ActivationKind::kGelu:
      return gelu(op, gelu_erf(op));
    case ActivationKind::kGeluTanh:
      return gelu(op, gelu_tanh(op));
  }
  throw Error(op.name, "unknown activation");
}

// 0.5 * (x * (1 + y)) in the order that engines look for.
std::string GraphConverter::gelu(const Op& op, const std::string& y) {
  const std::string plus_one = node(op, "PlusOne", "Add", {y, scalar(op, 1)});
  const std::string product = node(op, "Product", "Mul", {input(op), plus_one});
  return node(op, "Half", "Mul", {product, scalar(op, 0.5f)});
}

std::string GraphConverter::gelu_erf(const Op& op) {
  const auto root = static_cast<float>(std::sqrt(2.0));
  const std::string scaled = node(op, "Scaled", "Div", {input(op), scalar(op, root)});
  return node(op, "Erf", "Erf", {scaled});
}

// tanh(sqrt(2 / pi) * (x + 0.044715 x^3))
std::string GraphConverter::gelu_tanh(const Op& op) {
  const std::string cube = node(op, "Cube", "Pow", {input(op), scalar(op, 3)});
  const std::string part = node(op, "Part", "Mul", {cube, scalar(op, 0.044715f)});
  const std::string sum = node(op, "Inner", "Add", {input(op), part});
  const auto factor = static_cast<float>(std::sqrt(2 / M_PI));
  return node(op, "Tanh", "Tanh", {node(op, "Scaled", "Mul", {sum, scalar(op, factor)})});
}

void GraphConverter::describe_output() {
  const Value& value = network_.values[network_.output];
  std::vector<int64_t> dims{OnnxGraphBuilder::kBatch};
  if (value.rows == Rows::kTokens) dims.push_back(OnnxGraphBuilder::kSequence);
  dims.push_back(value.width);
  const std::string name = output_name(model_.config().head);
  std::string given = rows(network_.output);
  if (options_.half && value.rows == Rows::kTokens) given = as_float(given, given + "/Widened");
  onnx::NodeProto& last = *proto_.mutable_node(proto_.node_size() - 1);
  if (last.output(0) != given) throw Error(given, "is not what the network computes last");
  last.set_output(0, name);
  OnnxGraphBuilder::describe(*proto_.add_output(), name, onnx::TensorProto::FLOAT, dims);
}

}  // namespace twofour
