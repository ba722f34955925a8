#include "twofour/base/optional_library.h"
#include "twofour/export/api.h"

namespace twofour {
namespace {

constexpr OptionalLibrary kLibrary{"libtwofour_export.so",
                                   "TWOFOUR_EXPORT_LIBRARY",
                                   "export library",
                                   kExportApiSymbol,
                                   "Run scripts/build, which builds all targets",
                                   "Install Debian's libprotobuf-lite32, or run scripts/setup"};

}  // namespace

ExportApi& export_api() {
  static ExportApi& api = *reinterpret_cast<ExportApiFunction>(open_library(kLibrary))();
  return api;
}

}  // namespace twofour
