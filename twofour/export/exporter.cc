#include "twofour/export/exporter.h"

#include "twofour/base/error.h"
#include "twofour/export/converter.h"
#include "twofour/export/model_file.h"

namespace twofour {
namespace {

bool is_half(const std::string& precision) {
  if (precision == "f32" || precision == "fp16") return precision == "fp16";
  throw Error("export", "precision '" + precision + "' is not known", "Known: f32, fp16");
}

}  // namespace

ExportSummary run_export(const ExportRequest& request) {
  const ExportOptions options{export_target(request.target), request.opset, request.clip,
                              request.gemm_as_conv, is_half(request.precision)};
  const ModelDirectory model = ModelDirectory::open(request.model);
  ExportSummary summary;
  onnx::ModelProto proto = convert_to_onnx(model, options, summary);
  const WrittenModel written = write_onnx(request.out, proto, request.external_data);
  summary.bytes = written.bytes;
  summary.data = written.data;
  return summary;
}

}  // namespace twofour
