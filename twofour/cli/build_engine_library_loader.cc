#include "twofour/tensorrt/api.h"
#include "twofour/tensorrt/run_api.h"

namespace twofour {

BuildEngineApi& build_engine_api() {
  static BuildEngineApi& api = *reinterpret_cast<BuildEngineApiFunction>(
      open_library(tensorrt_library(kBuildEngineApiSymbol)))();
  return api;
}

}  // namespace twofour
