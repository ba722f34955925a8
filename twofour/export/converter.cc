#include "twofour/export/converter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <set>

#include "twofour/base/error.h"
#include "twofour/export/graph_builder.h"
#include "twofour/export/metadata.h"
#include "twofour/export/quantization.h"
#include "twofour/sparse/sparse24.h"

namespace twofour {
namespace {

// Added to the scores of padding. Softmax then gives exactly 0 in f32, and f16 can hold it.
constexpr float kMasked = -10000;

constexpr const char* kIds = "input_ids";
constexpr const char* kMask = "attention_mask";
constexpr const char* kTypeIds = "token_type_ids";

using Names = std::vector<std::string>;

std::string_view output_name(HeadKind head) {
  switch (head) {
    case HeadKind::kNone:
      return "last_hidden_state";
    case HeadKind::kClassification:
      return "logits";
    case HeadKind::kEmbedding:
      return "embeddings";
  }
  return "output";
}

// [n, k] -> [k, n], the order in which ONNX multiplies.
template <class T>
std::vector<T> transposed(std::span<const T> values, int64_t n, int64_t k) {
  std::vector<T> out(values.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < k; ++j) out[j * n + i] = values[i * k + j];
  }
  return out;
}

class Converter {
 public:
  Converter(const ModelDirectory& model, const Network& network, const ExportOptions& options,
            onnx::GraphProto& graph, ExportSummary& summary)
      : model_(model),
        network_(network),
        options_(options),
        proto_(graph),
        graph_(graph),
        summary_(summary),
        quantized_(quantized_values(network, model)),
        names_(network.values.size()) {}

  void convert() {
    for (const char* input : {kIds, kMask, kTypeIds}) {
      OnnxGraphBuilder::describe(*proto_.add_input(), input, onnx::TensorProto::INT64,
                                 {OnnxGraphBuilder::kBatch, OnnxGraphBuilder::kSequence});
    }
    for (const Op& op : network_.ops) names_[op.output] = convert(op);
    describe_output();
    summary_.nodes = proto_.node_size();
  }

 private:
  std::string convert(const Op& op) {
    switch (op.kind) {
      case OpKind::kEmbedding:
        return embedding(op);
      case OpKind::kLinear:
        return linear(op);
      case OpKind::kAttention:
        return attention(op);
      case OpKind::kLayerNorm:
        return result(op, "LayerNormalization", "LayerNormalization",
                      {input(op), parameter(op, 0), parameter(op, 1)},
                      {{"axis", int64_t{-1}}, {"epsilon", static_cast<float>(op.epsilon)}});
      case OpKind::kActivation:
        return activation(op);
      case OpKind::kAdd:
        return result(op, "Add", "Add", {input(op), input(op, 1)});
      case OpKind::kPool:
        return pool(op);
      case OpKind::kNormalize:
        return normalize(op);
    }
    throw Error(op.name, fmt::format("operation {} cannot be exported", op_kind_name(op.kind)));
  }

  std::string node(const Op& op, const std::string& suffix, const std::string& type,
                   const Names& inputs, const std::vector<OnnxAttribute>& attributes = {}) {
    return graph_.node(type, op.name + "/" + suffix, inputs, attributes);
  }

  // The node that gives the op's value.
  std::string result(const Op& op, const std::string& suffix, const std::string& type,
                     const Names& inputs, const std::vector<OnnxAttribute>& attributes = {}) {
    if (op.output != network_.output) return node(op, suffix, type, inputs, attributes);
    return graph_.node_to(std::string(output_name(model_.config().head)), type,
                          op.name + "/" + suffix, inputs, attributes);
  }

  const std::string& input(const Op& op, size_t index = 0) const {
    return names_[op.inputs[index]];
  }

  Tensor load(const Op& op, size_t index) const {
    const std::string& name = network_.parameter(op, index).name;
    return to_f32(model_.tensor(name), name);
  }

  std::string parameter(const Op& op, size_t index) {
    const Parameter& parameter = network_.parameter(op, index);
    std::vector<int64_t> dims;
    for (size_t i = 0; i < parameter.shape.rank(); ++i) dims.push_back(parameter.shape[i]);
    const Tensor tensor = load(op, index);
    return graph_.floats(parameter.name, dims, tensor.as<float>());
  }

  std::string embedding(const Op& op) {
    const std::string word = node(op, "Word", "Gather", {parameter(op, 0), kIds});
    const std::string type = node(op, "Type", "Gather", {parameter(op, 2), kTypeIds});
    const std::string length =
        node(op, "Length", "Shape", {kIds}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
    const std::string position =
        node(op, "Position", "Slice",
             {parameter(op, 1), graph_.indices({0}), length, graph_.indices({0})});
    const std::string sum = node(op, "WordAndType", "Add", {word, type});
    return result(op, "Sum", "Add", {sum, position});
  }

  std::string linear(const Op& op) {
    ++summary_.linear_layers;
    const bool int8 = is_int8(network_, op, model_);
    const std::string x = int8 ? dequantized(op) : input(op);
    const std::string weight = int8 ? int8_weight(op) : float_weight(op);
    const std::string product = node(op, "MatMul", "MatMul", {x, weight});
    return result(op, "Bias", "Add", {product, parameter(op, 1)});
  }

  std::string float_weight(const Op& op) {
    const Parameter& parameter = network_.parameter(op, 0);
    const int64_t n = parameter.shape[0], k = parameter.shape[1];
    const Tensor weight = load(op, 0);
    count_sparse(op, weight);
    return graph_.floats(parameter.name, {k, n}, transposed(weight.as<const float>(), n, k));
  }

  std::string int8_weight(const Op& op) {
    const Parameter& parameter = network_.parameter(op, 0);
    const int64_t n = parameter.shape[0], k = parameter.shape[1];
    const TensorView weight = model_.tensor(parameter.name);
    count_sparse(op, weight);
    ++summary_.int8_layers;
    const std::string scale_name = parameter.name + "_scale";
    const Tensor scales = to_f32(model_.tensor(scale_name), scale_name);
    const std::string values =
        graph_.int8s(parameter.name, {k, n}, transposed(weight.as<int8_t>(), n, k));
    const std::string zeros =
        graph_.int8s(parameter.name + "_zero_point", {n}, std::vector<int8_t>(n, 0));
    return node(op, "DequantizeWeight", "DequantizeLinear",
                {values, graph_.floats(scale_name, {n}, scales.as<float>()), zeros},
                {{"axis", int64_t{1}}});
  }

  void count_sparse(const Op& op, const TensorView& weight) {
    if (op.prunable && weight.shape[1] % 4 == 0 && !find_violation(weight))
      ++summary_.sparse_layers;
  }

  // The op's input after quantization with the file's scale.
  std::string dequantized(const Op& op) {
    const ValueId value = op.inputs[0];
    const QuantizedValue& quantized = quantized_[value];
    const std::string q = names_[value] + "/QuantizeLinear";
    const std::string scale = graph_.scalar(quantized.scale);
    if (!quantized_names_.contains(q)) quantize(value, q, scale);
    const std::string dq =
        (options_.target.dequantize_per_reader ? op.name : names_[value]) + "/DequantizeLinear";
    if (!quantized_names_.insert(dq).second) return dq;
    return graph_.node("DequantizeLinear", dq, {q, scale, zero_point()});
  }

  std::string zero_point() {
    return options_.target.unsigned_activations ? graph_.uint8(128) : graph_.int8(0);
  }

  void quantize(ValueId value, const std::string& q, const std::string& scale) {
    std::string x = names_[value];
    ++summary_.quant_points;
    if (options_.clip && quantized_[value].clip) {
      ++summary_.clipped_points;
      x = graph_.node("Clip", names_[value] + "/Clip",
                      {x, graph_.scalar(-127 * quantized_[value].scale)});
    }
    graph_.node("QuantizeLinear", q, {x, scale, zero_point()});
    quantized_names_.insert(q);
  }

  // [batch, sequence, heads * dim] -> [batch, heads, sequence, dim], or [.., dim, sequence] for
  // keys.
  std::string split_heads(const Op& op, size_t index, const std::string& what,
                          std::vector<int64_t> permutation) {
    const std::string split =
        node(op, what + "/Reshape", "Reshape",
             {input(op, index), graph_.indices({0, 0, op.heads, op.head_dim})});
    return node(op, what + "/Transpose", "Transpose", {split}, {{"perm", std::move(permutation)}});
  }

  std::string attention(const Op& op) {
    const std::string q = split_heads(op, 0, "Query", {0, 2, 1, 3});
    const std::string k = split_heads(op, 1, "Key", {0, 2, 3, 1});
    const std::string v = split_heads(op, 2, "Value", {0, 2, 1, 3});
    const std::string product = node(op, "Scores", "MatMul", {q, k});
    const auto root = static_cast<float>(std::sqrt(static_cast<double>(op.head_dim)));
    const std::string scores = node(op, "Scale", "Div", {product, graph_.scalar(root)});
    const std::string masked = node(op, "Mask", "Add", {scores, additive_mask()});
    const std::string weights = node(op, "Softmax", "Softmax", {masked}, {{"axis", int64_t{-1}}});
    const std::string context = node(op, "Context", "MatMul", {weights, v});
    const std::string rows =
        node(op, "Transpose", "Transpose", {context}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
    return result(op, "Merge", "Reshape", {rows, graph_.indices({0, 0, op.heads * op.head_dim})});
  }

  // 0 for tokens, kMasked for padding: [batch, 1, 1, sequence].
  std::string additive_mask() {
    if (!additive_mask_.empty()) return additive_mask_;
    const std::string wide =
        graph_.node("Unsqueeze", "mask/Unsqueeze", {kMask, graph_.indices({1, 2})});
    const std::string ones = as_float(wide, "mask/Cast");
    const std::string padding = graph_.node("Sub", "mask/Padding", {graph_.scalar(1), ones});
    additive_mask_ = graph_.node("Mul", "mask/Additive", {padding, graph_.scalar(kMasked)});
    return additive_mask_;
  }

  std::string as_float(const std::string& x, const std::string& name) {
    return graph_.node("Cast", name, {x}, {{"to", int64_t{onnx::TensorProto::FLOAT}}});
  }

  std::string activation(const Op& op) {
    switch (op.activation) {
      case ActivationKind::kRelu:
        return result(op, "Relu", "Relu", {input(op)});
      case ActivationKind::kTanh:
        return result(op, "Tanh", "Tanh", {input(op)});
      case ActivationKind::kGelu:
        return gelu(op, gelu_erf(op));
      case ActivationKind::kGeluTanh:
        return gelu(op, gelu_tanh(op));
    }
    throw Error(op.name, "unknown activation");
  }

  // 0.5 * (x * (1 + y)) in the order that engines look for.
  std::string gelu(const Op& op, const std::string& y) {
    const std::string plus_one = node(op, "PlusOne", "Add", {y, graph_.scalar(1)});
    const std::string product = node(op, "Product", "Mul", {input(op), plus_one});
    return result(op, "Half", "Mul", {product, graph_.scalar(0.5f)});
  }

  std::string gelu_erf(const Op& op) {
    const auto root = static_cast<float>(std::sqrt(2.0));
    const std::string scaled = node(op, "Scaled", "Div", {input(op), graph_.scalar(root)});
    return node(op, "Erf", "Erf", {scaled});
  }

  // tanh(sqrt(2 / pi) * (x + 0.044715 x^3))
  std::string gelu_tanh(const Op& op) {
    const std::string cube = node(op, "Cube", "Pow", {input(op), graph_.scalar(3)});
    const std::string part = node(op, "Part", "Mul", {cube, graph_.scalar(0.044715f)});
    const std::string sum = node(op, "Inner", "Add", {input(op), part});
    const auto factor = static_cast<float>(std::sqrt(2 / M_PI));
    return node(op, "Tanh", "Tanh", {node(op, "Scaled", "Mul", {sum, graph_.scalar(factor)})});
  }

  std::string pool(const Op& op) {
    switch (op.pooling) {
      case Pooling::kCls:
        return result(op, "First", "Gather", {input(op), graph_.index(0)}, {{"axis", int64_t{1}}});
      case Pooling::kMean:
        return mean(op);
      case Pooling::kMax:
        return maximum(op);
    }
    throw Error(op.name, "unknown pooling");
  }

  std::string mean(const Op& op) {
    const std::string wide = node(op, "Unsqueeze", "Unsqueeze", {kMask, graph_.indices({2})});
    const std::string mask = as_float(wide, op.name + "/Cast");
    const std::string masked = node(op, "Masked", "Mul", {input(op), mask});
    const std::vector<OnnxAttribute> drop{{"keepdims", int64_t{0}}};
    const std::string sum = node(op, "Sum", "ReduceSum", {masked, graph_.indices({1})}, drop);
    const std::string count = node(op, "Count", "ReduceSum", {mask, graph_.indices({1})}, drop);
    const std::string safe = node(op, "AtLeastOne", "Max", {count, graph_.scalar(1)});
    return result(op, "Mean", "Div", {sum, safe});
  }

  std::string maximum(const Op& op) {
    const std::string wide = node(op, "Unsqueeze", "Unsqueeze", {kMask, graph_.indices({2})});
    const std::string mask =
        node(op, "Cast", "Cast", {wide}, {{"to", int64_t{onnx::TensorProto::BOOL}}});
    const std::string lowest = graph_.scalar(std::numeric_limits<float>::lowest());
    const std::string masked = node(op, "Masked", "Where", {mask, input(op), lowest});
    if (options_.opset < 18) {  // axes became an input
      return result(op, "Max", "ReduceMax", {masked},
                    {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}});
    }
    return result(op, "Max", "ReduceMax", {masked, graph_.indices({1})},
                  {{"keepdims", int64_t{0}}});
  }

  // x / max(|x|, 1e-12)
  std::string normalize(const Op& op) {
    const std::string squares = node(op, "Squares", "Mul", {input(op), input(op)});
    const std::string sum = node(op, "Sum", "ReduceSum", {squares, graph_.indices({-1})});
    const std::string norm = node(op, "Norm", "Sqrt", {sum});
    const std::string safe = node(op, "NotZero", "Max", {norm, graph_.scalar(1e-12f)});
    return result(op, "Unit", "Div", {input(op), safe});
  }

  void describe_output() {
    const Value& value = network_.values[network_.output];
    std::vector<int64_t> dims{OnnxGraphBuilder::kBatch};
    if (value.rows == Rows::kTokens) dims.push_back(OnnxGraphBuilder::kSequence);
    dims.push_back(value.width);
    OnnxGraphBuilder::describe(*proto_.add_output(), names_[network_.output],
                               onnx::TensorProto::FLOAT, dims);
  }

  const ModelDirectory& model_;
  const Network& network_;
  const ExportOptions& options_;
  onnx::GraphProto& proto_;
  OnnxGraphBuilder graph_;
  ExportSummary& summary_;
  std::vector<QuantizedValue> quantized_;
  Names names_;                            // by value
  std::set<std::string> quantized_names_;  // of Q and DQ nodes that stand
  std::string additive_mask_;
};

// The version of the file format in which each operator set appeared.
int64_t ir_version(int64_t opset) { return opset >= 21 ? 10 : opset >= 19 ? 9 : 8; }

void check(const ModelDirectory& model, const Network& network, const ExportOptions& options) {
  if (options.opset < kMinOpset || options.opset > kMaxOpset) {
    throw Error("export", fmt::format("opset is {}: must be in [{}, {}]", options.opset, kMinOpset,
                                      kMaxOpset));
  }
  const std::vector<std::string> absent = check_parameters(network, model);
  if (absent.empty()) return;
  throw Error(model.origin(),
              fmt::format("the head's tensors are missing: {}", fmt::join(absent, ", ")),
              "Train the model first; training initializes its head");
}

}  // namespace

onnx::ModelProto convert_to_onnx(const ModelDirectory& model, const ExportOptions& options,
                                 ExportSummary& summary) {
  const Network network = build_network(model.config());
  check(model, network, options);
  onnx::ModelProto proto;
  proto.set_ir_version(ir_version(options.opset));
  proto.set_producer_name("twofour");
  proto.set_producer_version(TWOFOUR_VERSION);
  onnx::OperatorSetIdProto& opset = *proto.add_opset_import();
  opset.set_domain("");
  opset.set_version(options.opset);
  onnx::GraphProto& graph = *proto.mutable_graph();
  graph.set_name(network.architecture);
  Converter(model, network, options, graph, summary).convert();
  onnx::StringStringEntryProto& property = *proto.add_metadata_props();
  property.set_key("twofour");
  property.set_value(export_metadata(model, network, options));
  return proto;
}

}  // namespace twofour
