#include "twofour/export/converter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "twofour/base/error.h"
#include "twofour/export/graph_converter.h"
#include "twofour/export/metadata.h"
#include "twofour/export/written_layers.h"

namespace twofour {
namespace {

// The version of the file format in which each operator set appeared.
int64_t ir_version(int64_t opset) { return opset >= 21 ? 10 : opset >= 19 ? 9 : 8; }

void check(const ModelDirectory& model, const Network& network, const ExportOptions& options) {
  if (options.opset < kMinOpset || options.opset > kMaxOpset) {
    throw Error("export", fmt::format("opset is {}: must be in [{}, {}]", options.opset, kMinOpset,
                                      kMaxOpset));
  }
  if (options.half && model.config().int8) {
    throw Error(model.origin(), "is int8: precision fp16 is for float models");
  }
  if (options.quantize_residual && !model.config().int8) {
    throw Error(model.origin(), "is a float model: quantize_residual is for int8 models",
                "Make it int8 with twofour calibrate, or export it without");
  }
  if (model.config().dynamic_activations) {
    throw Error(model.origin(), "has dynamic activations, which Q/DQ does not hold",
                "Export it as compressed-tensors, or calibrate the float model");
  }
  const std::vector<std::string> absent = check_parameters(network, model);
  if (absent.empty()) return;
  throw Error(model.origin(),
              fmt::format("the head's tensors are missing: {}", fmt::join(absent, ", ")),
              "Train the model first; training initializes its head");
}

void add_opset(onnx::ModelProto& proto, const char* domain, int64_t version) {
  onnx::OperatorSetIdProto& opset = *proto.add_opset_import();
  opset.set_domain(domain);
  opset.set_version(version);
}

void check_plugin_layers(const ModelDirectory& model, const ExportSummary& summary) {
  if (summary.plugin_layers > 0) return;
  const WrittenLayer& layer = summary.layers.front();
  throw Error(model.origin(),
              fmt::format("no layer can run in the plug-in; '{}': {}", layer.name,
                          refusal(layer, "cusparselt")),
              "Export a 2:4 model: int8, or float with precision fp16");
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
  add_opset(proto, "", options.opset);
  if (options.plugin) add_opset(proto, spmm_node::kDomain, spmm_node::kDomainVersion);
  onnx::GraphProto& graph = *proto.mutable_graph();
  graph.set_name(network.architecture);
  GraphConverter(model, network, options, graph, summary).convert();
  summary.layers = written_layers(network, graph);
  for (const WrittenLayer& layer : summary.layers) summary.sparse_layers += layer.sparse;
  if (options.plugin) check_plugin_layers(model, summary);
  onnx::StringStringEntryProto& property = *proto.add_metadata_props();
  property.set_key("twofour");
  property.set_value(export_metadata(model, options, summary.layers));
  return proto;
}

}  // namespace twofour
