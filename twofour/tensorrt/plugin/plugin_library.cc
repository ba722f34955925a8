// libtwofour_spmm_plugin.so: registers SpmmPluginDynamic when it is loaded (trtexec
// --staticPlugins, dlopen, ctypes.CDLL), if TensorRT is loaded by then.
#include "twofour/base/export.h"
#include "twofour/graph/spmm_node.h"
#include "twofour/tensorrt/plugin/creator.h"
#include "twofour/tensorrt/plugin/nvinfer_process.h"
#include "twofour/tensorrt/plugin/translation.h"
#include "twofour/tensorrt/spmm_resources.h"

namespace twofour::tensorrt {
namespace {

bool register_creator() {
  using GetRegistry = nvinfer1::IPluginRegistry* (*)();
  const auto get =
      reinterpret_cast<GetRegistry>(loaded_nvinfer_symbol("getPluginRegistry", NV_TENSORRT_MAJOR));
  if (get == nullptr || !nvinfer_matches()) return false;
  // The registry keeps a pointer to it.
  static SpmmPluginCreator creator(resources_of_process);
  return get()->registerCreator(creator, spmm_node::kNamespace);
}

// Once, however often it is asked for.
bool registered() noexcept {
  static bool done = false;
  if (!done) done = guarded(false, register_creator);
  return done;
}

[[maybe_unused]] const bool registered_at_load = registered();

}  // namespace
}  // namespace twofour::tensorrt

// 1 where the plug-in is registered: for programs that load this library before TensorRT.
extern "C" TWOFOUR_API int twofour_register_spmm_plugin() {
  return twofour::tensorrt::registered() ? 1 : 0;
}
