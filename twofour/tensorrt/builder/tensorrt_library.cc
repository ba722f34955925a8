// libtwofour_tensorrt.so: building and running engines, each behind one symbol, so that nothing
// needs TensorRT to start.
#include <fmt/format.h>

#include "twofour/backend/cuda/open_device.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/error.h"
#include "twofour/base/export.h"
#include "twofour/graph/spmm_node.h"
#include "twofour/tensorrt/api.h"
#include "twofour/tensorrt/builder/engine_builder.h"
#include "twofour/tensorrt/builder/engine_timer.h"
#include "twofour/tensorrt/builder/nvinfer_engine.h"
#include "twofour/tensorrt/engine_file.h"
#include "twofour/tensorrt/onnx_origin.h"
#include "twofour/tensorrt/plugin/creator.h"
#include "twofour/tensorrt/plugin/nvinfer_process.h"
#include "twofour/tensorrt/run_api.h"
#include "twofour/tensorrt/spmm_resources.h"

namespace twofour::tensorrt {
namespace {

// So that files of export --plugin are parsed, and their engines opened, without a library of
// plug-ins at hand.
void register_plugin() {
  static SpmmPluginCreator creator(resources_of_process);
  static const bool registered = plugin_registry().registerCreator(creator, spmm_node::kNamespace);
  if (!registered) throw Error("TensorRT", "does not take the plug-in SpmmPluginDynamic");
}

EnginePlace place_of(const cuda::DeviceProperties& device) {
  return {device.name, fmt::format("{}.{}", device.major, device.minor),
          version_text(nvinfer_version())};
}

EngineKey key_of(const BuildEngineRequest& request, const cuda::DeviceProperties& device) {
  return {place_of(device),
          onnx_checksum(request.onnx),
          exported_model(request.onnx),
          request.batch,
          request.length,
          request.sparse};
}

cuda::DeviceProperties current_device(cuda::Runtime& runtime) {
  int count = 0, device = 0;
  cuda::check(runtime, runtime.device_count(count), "cudaGetDeviceCount");
  if (count == 0) throw Error("cuda", "there is no GPU", "Build the engine where it will run");
  cuda::check(runtime, runtime.current_device(device), "cudaGetDevice");
  cuda::DeviceProperties properties;
  cuda::check(runtime, runtime.properties(device, properties), "cudaGetDeviceProperties");
  return properties;
}

class BuildLibrary final : public BuildEngineApi {
 public:
  BuildEngineResult build(const BuildEngineRequest& request, const Callbacks& callbacks) override {
    cuda::Runtime& runtime = cuda::runtime();
    const cuda::DeviceProperties device = current_device(runtime);
    const EngineKey key = key_of(request, device);
    Logger logger(callbacks);
    BuildEngineResult result;
    result.gpu = key.place.gpu;
    result.tensorrt = key.place.tensorrt;
    register_plugin();
    const auto stale = why_stale(request.out, key);
    result.up_to_date = !stale && !request.force && !request.compare_dense;
    if (result.up_to_date) return result;
    if (stale) callbacks.info(fmt::format("builds {}: {}", request.out.string(), *stale));
    build_anew(request, logger, key, runtime, result);
    return result;
  }

 private:
  static void build_anew(const BuildEngineRequest& request, Logger& logger, const EngineKey& key,
                         cuda::Runtime& runtime, BuildEngineResult& result) {
    EngineBuilder builder(request, logger);
    const Nv<nvinfer1::IRuntime> nv_runtime = make_runtime(logger);
    const auto open = [&](const nvinfer1::IHostMemory& plan) {
      Nv<nvinfer1::ICudaEngine> engine(nv_runtime->deserializeCudaEngine(plan.data(), plan.size()));
      if (engine == nullptr)
        throw Error("TensorRT", "cannot open what it built: " + logger.take_errors());
      return engine;
    };
    const Nv<nvinfer1::IHostMemory> plan = builder.build(request.sparse);
    const Nv<nvinfer1::ICudaEngine> engine = open(*plan);
    result.layers = parse_engine_layers(inspect(*engine));
    if (request.compare_dense) {
      result.ms = time_engine(*engine, request, runtime);
      result.dense_ms = time_engine(*open(*builder.build(false)), request, runtime);
    }
    result.bytes = plan->size();
    write_engine(request.out, {static_cast<const char*>(plan->data()), plan->size()}, key);
  }
};

class RunLibrary final : public RunEngineApi {
 public:
  std::unique_ptr<TensorRtEngine> open(const std::filesystem::path& plan, const std::string& model,
                                       int device) override {
    cuda::Runtime& runtime = cuda::runtime();
    const cuda::DeviceProperties properties = cuda::require_device(runtime, device);
    const cuda::DeviceGuard guard(runtime, device);
    register_plugin();
    const std::string bytes = read_engine(plan, place_of(properties), model);
    return std::make_unique<NvEngine>(plan.string(), bytes, runtime, device);
  }
};

}  // namespace
}  // namespace twofour::tensorrt

extern "C" TWOFOUR_API twofour::BuildEngineApi* twofour_build_engine_api_v1() {
  static twofour::tensorrt::BuildLibrary library;
  return &library;
}

extern "C" TWOFOUR_API twofour::RunEngineApi* twofour_run_engine_api_v1() {
  static twofour::tensorrt::RunLibrary library;
  return &library;
}
