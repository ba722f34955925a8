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
  GraphConverter(model, network, options, graph, summary).convert();
  summary.layers = written_layers(network, graph);
  for (const WrittenLayer& layer : summary.layers) summary.sparse_layers += layer.sparse;
  onnx::StringStringEntryProto& property = *proto.add_metadata_props();
  property.set_key("twofour");
  property.set_value(export_metadata(model, options, summary.layers));
  return proto;
}

}  // namespace twofour
