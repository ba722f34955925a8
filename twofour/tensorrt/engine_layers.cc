#include "twofour/tensorrt/engine_layers.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/graph/spmm_node.h"

namespace twofour::tensorrt {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kWhere = "engine inspector";

std::string text(const Json& layer, const char* key) {
  const auto found = layer.find(key);
  return found != layer.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// "[ONNX Layer: a/MatMul][ONNX Layer: a/Bias]"; since 10.1 parts are separated by one character.
std::vector<std::string> onnx_layers(const std::string& metadata) {
  constexpr std::string_view kBegin = "[ONNX Layer: ";
  std::vector<std::string> layers;
  for (size_t at = metadata.find(kBegin); at != std::string::npos; at = metadata.find(kBegin, at)) {
    at += kBegin.size();
    layers.push_back(metadata.substr(at, metadata.find(']', at) - at));
  }
  return layers;
}

// As in sm80_xmma_fprop_sparse_conv_..._sptensor16x8x64.
bool is_sparse(const std::string& tactic) {
  return tactic.find("sparse") != std::string::npos || tactic.find("sptensor") != std::string::npos;
}

EngineLayer parse_layer(const Json& json) {
  if (json.is_string()) {
    throw Error(kWhere, "tells names of layers alone",
                "Build the engine with ProfilingVerbosity::kDETAILED");
  }
  if (!json.is_object() || !json.contains("Name"))
    throw Error(kWhere, "a layer is no object with a name");
  EngineLayer layer;
  layer.name = text(json, "Name");
  layer.type = text(json, "LayerType");
  layer.tactic = text(json, "TacticName");
  layer.onnx_layers = onnx_layers(text(json, "Metadata"));
  layer.plugin =
      layer.type.starts_with("Plugin") && (layer.name.find("/Spmm") != std::string::npos ||
                                           text(json, "PluginType") == spmm_node::kType);
  layer.sparse = layer.plugin || is_sparse(layer.tactic);
  return layer;
}

bool ends_as_product(const std::string& name) {
  constexpr std::array<std::string_view, 3> kSuffixes{"/MatMul", "/Conv", "/Spmm"};
  return std::any_of(kSuffixes.begin(), kSuffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

}  // namespace

// The copies before a product are named after it too.
bool EngineLayer::product() const {
  if (type == "Reformat") return false;
  return plugin || ends_as_product(name) ||
         std::any_of(onnx_layers.begin(), onnx_layers.end(), ends_as_product);
}

std::vector<EngineLayer> parse_engine_layers(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("Layers") || !json["Layers"].is_array())
    throw Error(kWhere, "expected a JSON object with a list 'Layers'");
  std::vector<EngineLayer> layers;
  for (const Json& layer : json["Layers"]) layers.push_back(parse_layer(layer));
  return layers;
}

}  // namespace twofour::tensorrt
