#include "twofour/export/exporter.h"

#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/export/converter.h"
#include "twofour/export/model_file.h"
#include "twofour/export/network_file.h"

namespace twofour {
namespace {

bool is_half(const std::string& precision) {
  if (precision == "f32" || precision == "fp16") return precision == "fp16";
  throw Error("export", "precision '" + precision + "' is not known", "Known: f32, fp16");
}

void check_plugin(const ExportRequest& request) {
  if (!request.plugin) return;
  if (request.target != "tensorrt") {
    throw Error("export",
                "the plug-in's nodes are for target tensorrt, not '" + request.target + "'");
  }
  if (request.gemm_as_conv) {
    throw Error("export", "plugin and gemm_as_conv exclude each other", "Choose one form");
  }
  if (request.plugin_max_m < 1 || request.plugin_max_m > kLargestPluginM) {
    throw Error("export", fmt::format("plugin_max_m is {}, expected 1 to {}", request.plugin_max_m,
                                      kLargestPluginM));
  }
}

}  // namespace

ExportSummary run_export(const ExportRequest& request) {
  if (is_network_file(request.model)) return export_network(request);
  check_plugin(request);
  const ExportOptions options{export_target(request.target),
                              request.opset,
                              request.clip,
                              request.gemm_as_conv,
                              is_half(request.precision),
                              request.plugin,
                              request.plugin_max_m,
                              request.quantize_residual};
  const ModelDirectory model = ModelDirectory::open(request.model);
  ExportSummary summary;
  onnx::ModelProto proto = convert_to_onnx(model, options, summary);
  const WrittenModel written = write_onnx(request.out, proto, request.external_data);
  summary.bytes = written.bytes;
  summary.data = written.data;
  return summary;
}

}  // namespace twofour
