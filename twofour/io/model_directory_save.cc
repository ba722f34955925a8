#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/io/model_directory.h"
#include "twofour/io/model_files.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;  // keys stay where the user had them

constexpr std::array kCopied = {
    "vocab.txt",         "tokenizer.json",          "tokenizer_config.json",
    "added_tokens.json", "special_tokens_map.json", "sentence_bert_config.json"};

// What else a model directory holds.
constexpr std::array kOwn = {"config.json",
                             "twofour.json",
                             "modules.json",
                             "config_sentence_transformers.json",
                             "model.safetensors.index.json",
                             "1_Pooling",
                             "1_Pooling/config.json",
                             "2_Normalize"};

// A classifier stands beside the encoder, which gets a prefix then.
std::string file_name(const std::string& canonical, HeadKind head) {
  const bool prefixed = classifies(head) && !canonical.starts_with("classifier.");
  return prefixed ? "bert." + canonical : canonical;
}

std::vector<NamedTensor> with_file_names(const ModelToSave& model) {
  std::vector<NamedTensor> tensors = model.tensors;
  for (NamedTensor& tensor : tensors) tensor.name = file_name(tensor.name, model.config.head);
  return tensors;
}

Json quantization_arguments(std::string_view strategy, bool dynamic = false) {
  return {{"num_bits", 8},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", strategy},
          {"dynamic", dynamic}};
}

// Linear layers that stayed float; embeddings are none. transformers gives a bare encoder a pooler
// even where the file has none, and would quantize it with scales that nobody calibrated.
std::vector<std::string> float_layers(const std::vector<NamedTensor>& tensors, HeadKind head) {
  constexpr std::string_view kWeight = ".weight";
  constexpr std::string_view kPooler = "pooler.dense";
  std::vector<std::string> layers;
  const bool pooler = std::any_of(tensors.begin(), tensors.end(), [&](const NamedTensor& tensor) {
    return tensor.name == std::string(kPooler) + ".weight";
  });
  if (!pooler && head != HeadKind::kClassification) layers.emplace_back(kPooler);
  for (const auto& [name, view] : tensors) {
    if (!name.ends_with(kWeight) || view.shape.rank() != 2 || view.dtype == DType::kI8) continue;
    if (name.ends_with("_embeddings.weight")) continue;
    layers.push_back(name.substr(0, name.size() - kWeight.size()));
  }
  std::sort(layers.begin(), layers.end());
  return layers;
}

Json quantization_config(const std::vector<NamedTensor>& tensors, const ModelConfig& config) {
  const bool dynamic = config.dynamic_activations;
  const Json group = {
      {"targets", Json::array({"Linear"})},
      {"weights", quantization_arguments("channel")},
      {"input_activations", quantization_arguments(dynamic ? "token" : "tensor", dynamic)},
      {"output_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}},
          {"ignore", float_layers(tensors, config.head)}};
}

void set_labels(int64_t num_labels, Json& json) {
  json.erase("num_labels");
  if (json.contains("id2label") && json["id2label"].is_object() &&
      json["id2label"].size() == static_cast<size_t>(num_labels)) {
    return;
  }
  json.erase("problem_type");  // spoke of the labels that were there
  json["id2label"] = Json::object();
  json["label2id"] = Json::object();
  for (int64_t i = 0; i < num_labels; ++i) {
    json["id2label"][std::to_string(i)] = fmt::format("LABEL_{}", i);
    json["label2id"][fmt::format("LABEL_{}", i)] = i;
  }
}

// For a configuration that was never read from a file.
Json described(const ModelConfig& config) {
  return {{"model_type", config.model_type},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"intermediate_size", config.intermediate_size},
          {"max_position_embeddings", config.max_position_embeddings},
          {"type_vocab_size", config.type_vocab_size},
          {"hidden_act", config.hidden_act},
          {"layer_norm_eps", config.layer_norm_eps},
          {"hidden_dropout_prob", config.hidden_dropout_prob},
          {"attention_probs_dropout_prob", config.attention_probs_dropout_prob}};
}

const char* architecture(HeadKind head) {
  switch (head) {
    case HeadKind::kClassification:
      return "BertForSequenceClassification";
    case HeadKind::kTokenClassification:
      return "BertForTokenClassification";
    case HeadKind::kNone:
    case HeadKind::kEmbedding:
      break;
  }
  return "BertModel";
}

std::string config_json(const ModelConfig& config, const std::vector<NamedTensor>& tensors) {
  Json json = described(config);
  if (!config.json.empty()) {
    parse_json(config.json, "config.json");  // the checks that the next line lacks
    json = Json::parse(config.json);
  }
  json["architectures"] = Json::array({architecture(config.head)});
  if (classifies(config.head)) set_labels(config.num_labels, json);
  json.erase("quantization_config");
  if (config.int8) {
    json["quantization_config"] = quantization_config(tensors, config);
    // transformers reads a quantized model as float16 unless told its type.
    if (!json.contains("torch_dtype") && !json.contains("dtype")) json["torch_dtype"] = "float32";
  }
  return json.dump(2) + "\n";
}

std::string modules_json(const ModelConfig& config) {
  const auto module = [](int index, const char* path, const char* type) -> Json {
    return {{"idx", index},
            {"name", std::to_string(index)},
            {"path", path},
            {"type", fmt::format("sentence_transformers.models.{}", type)}};
  };
  Json modules = {module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")};
  if (config.normalize) modules.push_back(module(2, "2_Normalize", "Normalize"));
  return modules.dump(2) + "\n";
}

std::string pooling_json(const ModelConfig& config) {
  const Json json = {{"word_embedding_dimension", config.hidden_size},
                     {"pooling_mode_cls_token", config.pooling == Pooling::kCls},
                     {"pooling_mode_mean_tokens", config.pooling == Pooling::kMean},
                     {"pooling_mode_max_tokens", config.pooling == Pooling::kMax},
                     {"pooling_mode_mean_sqrt_len_tokens", false}};
  return json.dump(2) + "\n";
}

SmallFiles files_of_source(const fs::path& source) {
  if (source.empty()) return {};
  const ModelFolder folder(source);
  return read_small_files(folder, read_modules(folder));
}

void write_small_files(const fs::path& folder, const ModelToSave& model, const SmallFiles& source) {
  for (const std::string name : kCopied) {
    if (source.contains(name)) write_file_atomically(folder / name, source.find(name)->second);
  }
  if (!model.twofour_json.empty()) {
    write_file_atomically(folder / "twofour.json", model.twofour_json);
  }
  if (model.config.head != HeadKind::kEmbedding) return;
  write_file_atomically(folder / "modules.json", modules_json(model.config));
  write_file_atomically(folder / "1_Pooling" / "config.json", pooling_json(model.config));
  const auto prompts = source.find("config_sentence_transformers.json");
  if (prompts != source.end()) write_file_atomically(folder / prompts->first, prompts->second);
}

void check_consistent(const ModelToSave& model) {
  const auto holds = [&](auto&& which) {
    return std::any_of(model.tensors.begin(), model.tensors.end(), which);
  };
  const bool holds_int8 =
      holds([](const NamedTensor& tensor) { return tensor.view.dtype == DType::kI8; });
  const bool holds_input_scales =
      holds([](const NamedTensor& tensor) { return tensor.name.ends_with(".input_scale"); });
  if (holds_int8 != model.config.int8) {
    throw Error("save_model_directory", fmt::format("config.int8 is {}, but {} tensor is int8",
                                                    model.config.int8, holds_int8 ? "a" : "no"));
  }
  if (holds_int8 && holds_input_scales == model.config.dynamic_activations) {
    throw Error("save_model_directory",
                fmt::format("config.dynamic_activations is {}, but {} tensor is an input scale",
                            model.config.dynamic_activations, holds_input_scales ? "a" : "no"));
  }
  if (classifies(model.config.head) && model.config.num_labels < 1) {
    throw Error("save_model_directory", "a classifier without labels");
  }
}

// Names are relative to the model directory.
bool is_weight_file(const std::string& name) {
  return name.starts_with("model") && name.ends_with(".safetensors") &&
         name.find('/') == std::string::npos;
}

bool is_model_file(const std::string& name) {
  const auto named = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return is_weight_file(name) || named(kCopied) || named(kOwn);
}

}  // namespace

// Replacing a folder removes all that it holds: nothing but a model may be there.
void check_model_destination(const fs::path& path) {
  if (!fs::exists(path)) return;
  if (!fs::is_directory(path)) {
    throw Error(path.string(), "is a file, expected a folder or nothing");
  }
  std::string first, foreign;  // by name, whatever order the file system has
  bool weights = false;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
    const std::string name = entry.path().lexically_relative(path).string();
    weights = weights || is_weight_file(name);
    if (first.empty() || name < first) first = name;
    if (!is_model_file(name) && (foreign.empty() || name < foreign)) foreign = name;
  }
  constexpr const char* kRemedy = "Choose another folder, or empty it";
  if (!foreign.empty()) {
    throw Error(path.string(),
                fmt::format("is a folder that holds something other than a model: {}", foreign),
                kRemedy);
  }
  if (!first.empty() && !weights) {
    throw Error(path.string(),
                fmt::format("is a folder that holds {}, but no weights: it is no model", first),
                kRemedy);
  }
}

void save_model_directory(const fs::path& path, const ModelToSave& model) {
  check_consistent(model);
  check_model_destination(path);
  const SmallFiles source = files_of_source(model.source);
  const std::vector<NamedTensor> tensors = with_file_names(model);
  const std::string config = config_json(model.config, tensors);
  write_directory_atomically(path, [&](const fs::path& folder) {
    write_file_atomically(folder / "config.json", config);
    write_small_files(folder, model, source);
    write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  });
}

}  // namespace twofour
