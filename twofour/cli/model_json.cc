#include "twofour/cli/model_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "twofour/cli/format.h"
#include "twofour/quant/quantize.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

Json layer_json(const LayerReport& layer) {
  return {{"name", layer.name},
          {"n", layer.n},
          {"k", layer.k},
          {"type", dtype_name(layer.dtype)},
          {"sparsity", layer.sparsity.zeros},
          {"groups_2_4", layer.sparsity.groups_2_4},
          {"share_rows", layer.sparsity.share_rows},
          {"bytes_now", layer.bytes_now},
          {"bytes_after", layer.bytes_after},
          {"eligible", engines_json(layer.not_prunable, layer.engines)}};
}

std::string_view pooling_name(Pooling pooling) {
  switch (pooling) {
    case Pooling::kCls:
      return "CLS";
    case Pooling::kMean:
      return "mean";
    case Pooling::kMax:
      return "max";
  }
  return "";
}

}  // namespace

std::string describe_head(const ModelConfig& config) {
  switch (config.head) {
    case HeadKind::kNone:
      return "none: hidden states";
    case HeadKind::kClassification:
      return config.num_labels == 1 ? "regression"
                                    : fmt::format("classification, {} labels", config.num_labels);
    case HeadKind::kTokenClassification:
      return "token classification, " + counted(config.num_labels, "label");
    case HeadKind::kEmbedding:
      return fmt::format("embedding, {} pooling{}", pooling_name(config.pooling),
                         config.normalize ? ", normalized" : "");
  }
  return "";
}

std::string describe_activations(const ModelConfig& config) {
  if (!config.int8) return "float";
  QuantScheme scheme;
  scheme.dynamic = config.dynamic_activations;
  if (scheme.dynamic) scheme.granularity = QuantScheme::Granularity::kPerToken;
  return scheme.to_string();
}

std::string describe_engines(const std::string& dense, const std::vector<Eligibility>& engines) {
  if (!dense.empty()) return "none: " + dense;
  std::vector<std::string> able, unable;
  for (const Eligibility& e : engines) {
    if (e.reason.empty())
      able.push_back(e.engine);
    else
      unable.push_back(fmt::format("{}: {}", e.engine, e.reason));
  }
  std::string text = able.empty() ? "none" : fmt::format("{}", fmt::join(able, ", "));
  return unable.empty() ? text : fmt::format("{} ({})", text, fmt::join(unable, "; "));
}

Json engines_json(const std::string& dense, const std::vector<Eligibility>& engines) {
  Json json = Json::object();
  for (const Eligibility& e : engines) {
    const std::string& reason = dense.empty() ? e.reason : dense;
    json[e.engine] = reason.empty() ? Json(true) : Json(reason);
  }
  return json;
}

uint64_t int8_file_bytes(const Network& network) {
  uint64_t bytes = 0;
  for (const Parameter& parameter : network.parameters) bytes += 4 * parameter.shape.numel();
  for (const Op& op : network.ops) {
    if (!op.prunable) continue;
    const Shape& weight = network.parameter(op, 0).shape;
    bytes += 4 * (weight[0] + 1) - 3 * weight.numel();  // scales, a byte for each f32
  }
  return bytes;
}

Json inspect_json(const ModelDirectory& model, const Network& network, const ModelReport& report,
                  const std::optional<MemoryBytes>& memory) {
  const ModelConfig& config = model.config();
  Json layers = Json::array();
  for (const LayerReport& layer : report.layers) layers.push_back(layer_json(layer));
  Json json = {{"model", model.path().string()},
               {"architecture", config.model_type},
               {"num_hidden_layers", config.num_hidden_layers},
               {"hidden_size", config.hidden_size},
               {"head", describe_head(config)},
               {"int8", config.int8},
               {"activations", describe_activations(config)},
               {"weight_file_bytes", report.weight_file_bytes},
               {"weight_file_bytes_after", int8_file_bytes(network)},
               {"matrix_bytes_now", report.matrix_bytes_now},
               {"matrix_bytes_after", report.matrix_bytes_after},
               {"other_bytes", report.other_bytes},
               {"unused_tensors", report.unused_tensors},
               {"unused_bytes", report.unused_bytes},
               {"absent", report.absent},
               {"layers", std::move(layers)}};
  if (memory) json["memory_bytes"] = memory->now;
  if (memory && memory->after) json["memory_bytes_after"] = *memory->after;
  return json;
}

}  // namespace twofour::cli
