#include "twofour/tensorrt/run_api.h"

namespace twofour {

RunEngineApi& run_engine_api() {
  static RunEngineApi& api = *reinterpret_cast<RunEngineApiFunction>(
      open_library(tensorrt_library(kRunEngineApiSymbol)))();
  return api;
}

}  // namespace twofour
