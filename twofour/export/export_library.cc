// libtwofour_export.so: the exporter behind one symbol, so that the command need not link protobuf.
#include "twofour/base/export.h"
#include "twofour/export/api.h"
#include "twofour/export/exporter.h"
#include "twofour/export/onnx_weights.h"
#include "twofour/export/target.h"

namespace twofour {
namespace {

class Library : public ExportApi {
 public:
  std::vector<std::string> targets() const override { return export_target_names(); }

  ExportSummary export_onnx(const ExportRequest& request) override { return run_export(request); }

  std::vector<WeightReport> inspect_onnx(const std::filesystem::path& path) override {
    return twofour::inspect_onnx(path);
  }
};

}  // namespace
}  // namespace twofour

extern "C" TWOFOUR_API twofour::ExportApi* twofour_export_api_v5() {
  static twofour::Library library;
  return &library;
}
