#include "twofour/export/network_file.h"

#include <onnx/onnx.pb.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/export/model_file.h"
#include "twofour/export/onnx_tensor.h"
#include "twofour/export/onnx_weights.h"
#include "twofour/io/json.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kProperty = "twofour";

void check_options(const ExportRequest& request) {
  const bool plain = request.clip && !request.quantize_residual && request.precision == "f32" &&
                     !request.gemm_as_conv && !request.plugin;
  if (plain) return;
  throw Error(request.model.string(),
              "is a network in ONNX: clip, quantize_residual, precision, gemm_as_conv and plugin "
              "are for model directories",
              "Leave them out: the network is written as it is");
}

// Tensors in files beside `path` into the graph, which is then written elsewhere.
void take_in_all(onnx::GraphProto& graph, const fs::path& path) {
  for (onnx::TensorProto& tensor : *graph.mutable_initializer()) take_in(tensor, path);
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) take_in(*attribute.mutable_t(), path);
      if (attribute.has_g()) take_in_all(*attribute.mutable_g(), path);
      for (onnx::TensorProto& tensor : *attribute.mutable_tensors()) take_in(tensor, path);
      for (onnx::GraphProto& inner : *attribute.mutable_graphs()) take_in_all(inner, path);
    }
  }
}

Json tensors_json(const std::vector<WeightReport>& weights) {
  Json tensors = Json::object();
  for (const WeightReport& weight : weights) {
    tensors[weight.name] = {{"dtype", weight.type},
                            {"values", weight.counts.values},
                            {"zeros", weight.counts.zeros},
                            {"groups", weight.counts.groups_of_four},
                            {"groups_2_4", weight.counts.groups_2_4}};
    if (!weight.dense.empty()) tensors[weight.name]["dense"] = weight.dense;
  }
  return tensors;
}

// A file of our own keeps what its property says of its origin.
void set_property(onnx::ModelProto& model, const std::vector<WeightReport>& weights) {
  onnx::StringStringEntryProto* property = nullptr;
  for (onnx::StringStringEntryProto& entry : *model.mutable_metadata_props()) {
    if (entry.key() == kProperty) property = &entry;
  }
  if (property == nullptr) property = model.add_metadata_props();
  Json json = Json::parse(property->value(), nullptr, false);
  if (!json.is_object()) json = Json::object();
  json["version"] = TWOFOUR_VERSION;
  json["tensors"] = tensors_json(weights);
  property->set_key(kProperty);
  property->set_value(json_text(json));
}

}  // namespace

bool is_network_file(const fs::path& path) {
  std::error_code unknown;
  return path.extension() == ".onnx" && !fs::is_directory(path, unknown);
}

ExportSummary export_network(const ExportRequest& request) {
  check_options(request);
  onnx::ModelProto model = read_onnx_model(request.model);
  ExportSummary summary;
  summary.weights = inspect_onnx(model, request.model);
  if (summary.weights.empty())
    throw Error(request.model.string(), "holds no Conv, Gemm or MatMul with a constant weight");
  summary.nodes = model.graph().node_size();
  take_in_all(*model.mutable_graph(), request.model);
  set_property(model, summary.weights);
  const WrittenModel written = write_onnx(request.out, model, request.external_data);
  summary.bytes = written.bytes;
  summary.data = written.data;
  return summary;
}

}  // namespace twofour
