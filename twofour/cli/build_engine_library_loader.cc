#include "twofour/base/optional_library.h"
#include "twofour/tensorrt/api.h"

namespace twofour {
namespace {

constexpr OptionalLibrary kLibrary{
    "libtwofour_tensorrt.so",
    "TWOFOUR_TENSORRT_LIBRARY",
    "TensorRT library",
    kBuildEngineApiSymbol,
    "Build the preset cuda with TENSORRT_ROOT set, as docs/tensorrt.md says",
    "Build it again with the TensorRT that is installed"};

}  // namespace

BuildEngineApi& build_engine_api() {
  static BuildEngineApi& api = *reinterpret_cast<BuildEngineApiFunction>(open_library(kLibrary))();
  return api;
}

}  // namespace twofour
