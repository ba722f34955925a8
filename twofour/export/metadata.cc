#include "twofour/export/metadata.h"

#include <nlohmann/json.hpp>

#include "twofour/io/content_hash.h"

namespace twofour {

std::string export_metadata(const ModelDirectory& model, const ExportOptions& options,
                            const std::vector<WrittenLayer>& layers) {
  nlohmann::ordered_json json;
  json["version"] = TWOFOUR_VERSION;
  json["model"] = hash_of(model);
  json["target"] = options.target.name;
  if (options.half) json["precision"] = "fp16";
  if (options.quantize_residual) json["quantize_residual"] = true;
  if (options.gemm_as_conv) json["gemm_as_conv"] = true;
  if (options.plugin) {
    json["plugin"] = {{"type", spmm_node::kType}, {"version", spmm_node::kVersion}};
  }
  const auto origin = nlohmann::ordered_json::parse(model.twofour_json(), nullptr, false);
  for (const char* key : {"recipe", "pruning"}) {
    if (origin.is_object() && origin.contains(key)) json[key] = origin[key];
  }
  auto& tensors = json["tensors"] = nlohmann::ordered_json::object();
  for (const WrittenLayer& layer : layers) {
    tensors[layer.name + ".weight"] = {{"dtype", dtype_name(layer.dtype)},
                                       {"values", layer.n * layer.k},
                                       {"zeros", layer.zeros},
                                       {"groups", layer.groups},
                                       {"groups_2_4", layer.groups_2_4}};
  }
  return json.dump();
}

}  // namespace twofour
