#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "twofour/base/error.h"
#include "twofour/io/json.h"
#include "twofour/io/model_files.h"

namespace twofour {
namespace {

constexpr int64_t kMaximumDimension = (int64_t{1} << 31) - 1;
constexpr std::array kActivations = {"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"};

// Tokenizers without a limit of their own say 1e30.
constexpr double kNoLimit = 1e9;

void check_bert(const JsonObject& json, const ModelConfig& config) {
  if (config.hidden_size % config.num_attention_heads != 0) {
    throw Error(json.where(),
                fmt::format("hidden_size {} is not a multiple of num_attention_heads {}",
                            config.hidden_size, config.num_attention_heads),
                kJsonRemedy);
  }
  if (std::find(kActivations.begin(), kActivations.end(), config.hidden_act) ==
      kActivations.end()) {
    throw Error(json.where(), fmt::format("hidden_act \"{}\" is not supported", config.hidden_act),
                "gelu, gelu_new, gelu_pytorch_tanh and relu are");
  }
  const std::string positions = json.string_or("position_embedding_type", "absolute");
  if (positions != "absolute") {
    throw Error(json.where(),
                fmt::format("position_embedding_type \"{}\" is not supported", positions),
                "Only \"absolute\" is");
  }
  if (json.boolean_or("is_decoder", false) || json.boolean_or("add_cross_attention", false)) {
    throw Error(json.where(), "decoders are not supported", "Only encoders are");
  }
}

double probability(const JsonObject& json, std::string_view key) {
  const double value = json.number_or(key, 0.1);
  if (value >= 0 && value < 1) return value;
  throw Error(json.where(),
              fmt::format("\"{}\": expected a number in [0, 1), found {}", key, value),
              kJsonRemedy);
}

void read_bert(const JsonObject& json, ModelConfig& config) {
  config.vocab_size = json.integer("vocab_size", 1, kMaximumDimension);
  config.hidden_size = json.integer("hidden_size", 1, kMaximumDimension);
  config.num_hidden_layers = json.integer("num_hidden_layers", 1, 10'000);
  config.num_attention_heads = json.integer("num_attention_heads", 1, kMaximumDimension);
  config.intermediate_size = json.integer("intermediate_size", 1, kMaximumDimension);
  config.max_position_embeddings = json.integer("max_position_embeddings", 1, kMaximumDimension);
  config.type_vocab_size = json.integer_or("type_vocab_size", 2, 1, kMaximumDimension);
  config.hidden_act = json.string_or("hidden_act", "gelu");
  config.layer_norm_eps = json.number_or("layer_norm_eps", 1e-12);
  if (!(config.layer_norm_eps > 0 && config.layer_norm_eps < 1)) {
    throw Error(json.where(),
                fmt::format("\"layer_norm_eps\": expected a number in (0, 1), found {}",
                            config.layer_norm_eps),
                kJsonRemedy);
  }
  config.hidden_dropout_prob = probability(json, "hidden_dropout_prob");
  config.attention_probs_dropout_prob = probability(json, "attention_probs_dropout_prob");
  check_bert(json, config);
}

// As transformers: the label names count, then num_labels, then 2.
int64_t read_num_labels(const JsonObject& json) {
  const nlohmann::json* names = json.find("id2label");
  if (names != nullptr && names->is_object() && !names->empty()) {
    return static_cast<int64_t>(names->size());
  }
  return json.integer_or("num_labels", 2, 1, kMaximumDimension);
}

Pooling read_pooling(const JsonObject& json) {
  constexpr std::string_view kPrefix = "pooling_mode_";
  constexpr std::array<std::pair<std::string_view, Pooling>, 3> kModes = {
      {{"cls_token", Pooling::kCls},
       {"mean_tokens", Pooling::kMean},
       {"max_tokens", Pooling::kMax}}};
  std::vector<Pooling> on;
  for (const auto& [name, pooling] : kModes) {
    if (json.boolean_or(std::string(kPrefix) + std::string(name), false)) on.push_back(pooling);
  }
  bool other = false;
  for (const char* name : {"mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"}) {
    other = other || json.boolean_or(std::string(kPrefix) + name, false);
  }
  if (on.size() == 1 && !other) return on.front();
  throw Error(json.where(),
              "expected exactly one of the pooling modes cls_token, mean_tokens and max_tokens",
              "Use a model that pools by one of these");
}

// Files since sentence-transformers 5.4 name the mode in one string.
Pooling read_named_pooling(const JsonObject& json) {
  const std::string mode = json.string("pooling_mode");
  if (mode == "cls") return Pooling::kCls;
  if (mode == "mean") return Pooling::kMean;
  if (mode == "max") return Pooling::kMax;
  throw Error(json.where(), fmt::format("pooling_mode \"{}\" is not supported", mode),
              "cls, mean and max are");
}

void read_embedding(const SmallFiles& files, const Modules& modules, const std::string& origin,
                    ModelConfig& config) {
  config.head = HeadKind::kEmbedding;
  config.normalize = modules.normalize;
  const std::string where = origin + "/" + modules.pooling + "config.json";
  const auto text = files.find("1_Pooling/config.json");
  if (text == files.end()) throw Error(where, "no such file", "modules.json names it");
  const JsonObject json = JsonObject::parse(text->second, where);
  config.pooling = json.has("pooling_mode") ? read_named_pooling(json) : read_pooling(json);
}

void read_head(const JsonObject& json, const SmallFiles& files, const Modules& modules,
               const std::string& origin, ModelConfig& config) {
  if (modules.present) return read_embedding(files, modules, origin, config);
  constexpr std::array<std::pair<std::string_view, HeadKind>, 2> kClassifiers = {
      {{"ForSequenceClassification", HeadKind::kClassification},
       {"ForTokenClassification", HeadKind::kTokenClassification}}};
  for (const std::string& architecture : config.architectures) {
    for (const auto& [suffix, head] : kClassifiers) {
      if (architecture.find(suffix) != std::string::npos) config.head = head;
    }
  }
  if (classifies(config.head)) config.num_labels = read_num_labels(json);
}

int64_t length_limit(const SmallFiles& files, const Modules& modules, const std::string& origin,
                     const std::string& name, std::string_view key, int64_t limit) {
  const auto text = files.find(name);
  if (text == files.end()) return limit;
  const JsonObject json =
      JsonObject::parse(text->second, origin + "/" + modules.transformer + name);
  if (json.number_or(key, kNoLimit) >= kNoLimit) return limit;
  return std::min(limit, json.integer(key, 1, kMaximumDimension));
}

}  // namespace

ModelConfig parse_model_config(const SmallFiles& files, const Modules& modules,
                               const std::string& origin) {
  const std::string where = origin + "/" + modules.transformer + "config.json";
  const auto text = files.find("config.json");
  if (text == files.end()) {
    throw Error(where, "no such file", "Name the folder that holds config.json");
  }
  const JsonObject json = JsonObject::parse(text->second, where);
  ModelConfig config;
  config.json = text->second;
  config.origin = where;
  config.model_type = json.string("model_type");
  config.architectures = json.strings_or_empty("architectures");
  // Other networks spell their dimensions in other ways; whoever builds them reads config.json.
  if (config.model_type == "bert") read_bert(json, config);
  read_head(json, files, modules, origin, config);
  const Quantization quantization = parse_quantization(config.json, where);
  config.int8 = quantization.int8;
  config.dynamic_activations = quantization.dynamic_activations;
  int64_t length = config.max_position_embeddings > 0 ? config.max_position_embeddings
                                                      : config.max_sequence_length;
  length =
      length_limit(files, modules, origin, "tokenizer_config.json", "model_max_length", length);
  config.max_sequence_length =
      length_limit(files, modules, origin, "sentence_bert_config.json", "max_seq_length", length);
  return config;
}

}  // namespace twofour
