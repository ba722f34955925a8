#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/graph/builder.h"

namespace twofour {
namespace {

struct Family {
  std::string_view model_type;
  Network (*build)(const ModelConfig&);
};

constexpr std::array kFamilies{Family{"bert", build_bert}};

constexpr std::array<std::pair<std::string_view, ActivationKind>, 4> kHiddenActs{
    {{"gelu", ActivationKind::kGelu},
     {"gelu_new", ActivationKind::kGeluTanh},
     {"gelu_pytorch_tanh", ActivationKind::kGeluTanh},
     {"relu", ActivationKind::kRelu}}};

template <class Entries, class Key>
std::string list(const Entries& entries, Key key) {
  std::vector<std::string_view> names;
  for (const auto& entry : entries) names.push_back(key(entry));
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string origin_of(const ModelConfig& config) {
  return config.origin.empty() ? "config.json" : config.origin;
}

}  // namespace

bool has_network(const ModelConfig& config) {
  return std::ranges::any_of(
      kFamilies, [&](const Family& family) { return family.model_type == config.model_type; });
}

Network build_network(const ModelConfig& config) {
  for (const Family& family : kFamilies) {
    if (family.model_type == config.model_type) return family.build(config);
  }
  throw Error(origin_of(config), fmt::format("model_type '{}' is not supported", config.model_type),
              "Supported: " + list(kFamilies, [](const Family& f) { return f.model_type; }));
}

ActivationKind parse_hidden_act(const std::string& name) {
  for (const auto& [known, kind] : kHiddenActs) {
    if (known == name) return kind;
  }
  throw Error("config.json", fmt::format("hidden_act '{}' is not supported", name),
              "Supported: " + list(kHiddenActs, [](const auto& entry) { return entry.first; }));
}

void build_head(NetworkBuilder& builder, ValueId hidden, const ModelConfig& config) {
  Network& network = builder.network();
  if (classifies(config.head) && config.num_labels < 1) {
    throw Error(origin_of(config),
                fmt::format("num_labels is {}: must be at least 1", config.num_labels),
                "A head has a label for each class, or one for a number");
  }
  switch (config.head) {
    case HeadKind::kNone:
      network.output = hidden;
      return;
    case HeadKind::kEmbedding: {
      const ValueId pooled = builder.pool("pooling", hidden, config.pooling);
      network.output = config.normalize ? builder.normalize("normalize", pooled) : pooled;
      return;
    }
    case HeadKind::kTokenClassification:
      network.output = builder.linear("classifier", hidden, config.num_labels, false);
      return;
    case HeadKind::kClassification: {
      const ValueId first = builder.pool("pooler.first", hidden, Pooling::kCls);
      const ValueId dense = builder.linear("pooler.dense", first, config.hidden_size, false);
      const ValueId pooled = builder.activation("pooler.activation", dense, ActivationKind::kTanh,
                                                config.hidden_dropout_prob);
      network.output = builder.linear("classifier", pooled, config.num_labels, false);
      return;
    }
  }
}

ValueId NetworkBuilder::embedding(const std::string& name, const std::vector<Parameter>& tables) {
  Op& op = append(OpKind::kEmbedding, name, {}, tables[0].shape[1], Rows::kTokens);
  for (const Parameter& table : tables) op.parameters.push_back(parameter(table.name, table.shape));
  return op.output;
}

ValueId NetworkBuilder::linear(const std::string& name, ValueId x, int64_t n, bool prunable,
                               double dropout) {
  const Value input = network_.values[x];
  Op& op = append(OpKind::kLinear, name, {x}, n, input.rows);
  op.parameters = {parameter(name + ".weight", {n, input.width}), parameter(name + ".bias", {n})};
  op.prunable = prunable;
  op.dropout = dropout;
  return op.output;
}

ValueId NetworkBuilder::attention(const std::string& name, const std::string& output, ValueId q,
                                  ValueId k, ValueId v, int64_t heads, double dropout) {
  const int64_t width = network_.values[q].width;
  Op& op = append(OpKind::kAttention, name, {q, k, v}, width, Rows::kTokens, output);
  op.heads = heads;
  op.head_dim = width / heads;
  op.dropout = dropout;
  return op.output;
}

ValueId NetworkBuilder::add(const std::string& name, ValueId a, ValueId b) {
  return append_like(OpKind::kAdd, name, {a, b}).output;
}

ValueId NetworkBuilder::layer_norm(const std::string& name, ValueId x, double epsilon,
                                   double dropout) {
  const int64_t width = network_.values[x].width;
  Op& op = append_like(OpKind::kLayerNorm, name, {x});
  op.parameters = {parameter(name + ".weight", {width}), parameter(name + ".bias", {width})};
  op.epsilon = epsilon;
  op.dropout = dropout;
  return op.output;
}

ValueId NetworkBuilder::activation(const std::string& name, ValueId x, ActivationKind kind,
                                   double dropout) {
  Op& op = append_like(OpKind::kActivation, name, {x});
  op.activation = kind;
  op.dropout = dropout;
  return op.output;
}

ValueId NetworkBuilder::pool(const std::string& name, ValueId x, Pooling pooling) {
  Op& op = append(OpKind::kPool, name, {x}, network_.values[x].width, Rows::kSequences);
  op.pooling = pooling;
  return op.output;
}

ValueId NetworkBuilder::normalize(const std::string& name, ValueId x) {
  return append_like(OpKind::kNormalize, name, {x}).output;
}

void NetworkBuilder::quantize(ValueId x) {
  network_.values[x].quant_point = static_cast<int32_t>(network_.quant_points.size());
  network_.quant_points.push_back({network_.values[x].name, x});
}

int32_t NetworkBuilder::parameter(std::string name, Shape shape) {
  network_.parameters.push_back({std::move(name), std::move(shape)});
  return static_cast<int32_t>(network_.parameters.size()) - 1;
}

Op& NetworkBuilder::append(OpKind kind, const std::string& name, std::vector<ValueId> inputs,
                           int64_t width, Rows rows, const std::string& output) {
  Op op;
  op.kind = kind;
  op.name = name;
  op.inputs = std::move(inputs);
  op.output = static_cast<ValueId>(network_.values.size());
  network_.values.push_back({output.empty() ? name : output, rows, width, -1});
  network_.ops.push_back(std::move(op));
  return network_.ops.back();
}

Op& NetworkBuilder::append_like(OpKind kind, const std::string& name, std::vector<ValueId> inputs) {
  const Value like = network_.values[inputs[0]];
  return append(kind, name, std::move(inputs), like.width, like.rows);
}

}  // namespace twofour
