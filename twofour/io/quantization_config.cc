// "quantization_config" of config.json, as in compressed-tensors: reading.
#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/io/json.h"
#include "twofour/io/model_files.h"

namespace twofour {
namespace {

constexpr std::string_view kSupported =
    "Supported is compressed-tensors, int-quantized: int8 symmetric, weights static per channel, "
    "activations static per tensor or dynamic per token";

[[noreturn]] void refuse(const std::string& where, std::string_view what) {
  throw Error(where, fmt::format("{} is not supported", what), kSupported);
}

void check_string(const JsonObject& json, std::string_view key, std::string_view wanted) {
  const std::string found = json.string_or(key, "");
  if (found != wanted) refuse(json.where(), fmt::format("{} \"{}\"", key, found));
}

void check_flag(const JsonObject& json, std::string_view key, bool fallback, bool wanted) {
  const nlohmann::json* value = json.find(key);
  const bool right = value == nullptr ? fallback == wanted : *value == nlohmann::json(wanted);
  if (!right) refuse(json.where(), fmt::format("{} other than {}", key, wanted));
}

// Absent members have compressed-tensors' defaults.
JsonObject int8_arguments(const JsonObject& group, std::string_view key) {
  const std::optional<JsonObject> arguments = group.object(key);
  if (!arguments) refuse(group.where(), fmt::format("a group without {}", key));
  const int64_t bits = arguments->integer_or("num_bits", 8, 1, 64);
  if (bits != 8) refuse(arguments->where(), fmt::format("num_bits {}", bits));
  const std::string type = arguments->string_or("type", "int");
  if (type != "int") refuse(arguments->where(), fmt::format("type \"{}\"", type));
  check_flag(*arguments, "symmetric", true, true);
  return *arguments;
}

// "dynamic" may also be the string "local".
bool is_dynamic(const JsonObject& activations) {
  const nlohmann::json* value = activations.find("dynamic");
  if (value == nullptr) return false;
  if (!value->is_boolean()) refuse(activations.where(), "dynamic " + value->dump());
  return value->get<bool>();
}

// Whether the activations are dynamic.
bool check_group(const JsonObject& group) {
  const JsonObject weights = int8_arguments(group, "weights");
  check_flag(weights, "dynamic", false, false);
  check_string(weights, "strategy", "channel");
  const JsonObject activations = int8_arguments(group, "input_activations");
  const bool dynamic = is_dynamic(activations);
  check_string(activations, "strategy", dynamic ? "token" : "tensor");
  if (group.has("output_activations")) refuse(group.where(), "quantization of output activations");
  return dynamic;
}

// As check_group. Groups agree: an engine has one way for all layers.
bool check_groups(const JsonObject& config) {
  const nlohmann::json* groups = config.find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    throw Error(config.where(), "\"config_groups\" is missing or empty", kSupported);
  }
  size_t dynamic = 0;
  for (const auto& [name, group] : groups->items()) {
    dynamic += check_group(JsonObject(group, fmt::format("{}, {}", config.where(), name)));
  }
  if (dynamic > 0 && dynamic < groups->size())
    refuse(config.where(), "static beside dynamic quantization of activations");
  return dynamic > 0;
}

bool is_empty(const nlohmann::json* object) { return object == nullptr || object->empty(); }

// llm-compressor writes the object in any case; newer versions leave it empty.
void check_sparsity(const JsonObject& config) {
  const auto sparsity = config.object("sparsity_config");
  if (sparsity && !sparsity->members().empty()) check_string(*sparsity, "format", "dense");
}

// Rotations before and after layers, which no network here computes.
void check_transforms(const JsonObject& config) {
  if (!is_empty(config.find("transform_config"))) refuse(config.where(), "a transform_config");
}

// Of a model that llm-compressor pruned only: float weights with their zeros in place.
bool quantizes_nothing(const JsonObject& config) {
  return is_empty(config.find("config_groups")) && config.string_or("format", "dense") == "dense";
}

}  // namespace

Quantization parse_quantization(std::string_view config_json, const std::string& where) {
  const auto config = JsonObject::parse(config_json, where).object("quantization_config");
  if (!config) return {};
  check_string(*config, "quant_method", "compressed-tensors");
  check_sparsity(*config);
  check_transforms(*config);
  if (quantizes_nothing(*config)) return {};
  check_string(*config, "format", "int-quantized");
  const bool dynamic = check_groups(*config);
  if (config->has("kv_cache_scheme")) refuse(config->where(), "a kv_cache_scheme");
  return {.int8 = true, .dynamic_activations = dynamic};
}

}  // namespace twofour
