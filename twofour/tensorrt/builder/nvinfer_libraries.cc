#include "twofour/tensorrt/builder/nvinfer_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <string>

#include "twofour/base/error.h"
#include "twofour/tensorrt/plugin/nvinfer_process.h"

namespace twofour::tensorrt {
namespace {

constexpr const char* kVariable = "TWOFOUR_TENSORRT_LIBS";

// RTLD_GLOBAL: plug-ins look for the registry in the global scope.
void* open(const std::string& file) {
  std::string path = file;
  if (const char* folder = std::getenv(kVariable); folder != nullptr && *folder != '\0')
    path = std::string(folder) + "/" + file;
  if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) return library;
  throw Error(file, fmt::format("cannot be opened: {}", dlerror()),
              fmt::format("Install TensorRT {}, or set {} to the folder of its libraries",
                          NV_TENSORRT_MAJOR, kVariable));
}

template <class Function>
Function* symbol(void* library, const char* name) {
  if (void* found = dlsym(library, name)) return reinterpret_cast<Function*>(found);
  throw Error("TensorRT", fmt::format("the library has no function {}", name),
              fmt::format("Install TensorRT {}", NV_TENSORRT_MAJOR));
}

void* nvinfer() {
  static void* library = [] {
    void* opened = open(fmt::format("libnvinfer.so.{}", NV_TENSORRT_MAJOR));
    if (!nvinfer_matches()) {
      throw Error("TensorRT",
                  fmt::format("the process has another version than {} loaded", NV_TENSORRT_MAJOR));
    }
    return opened;
  }();
  return library;
}

void* parser_library() {
  static void* library = open(fmt::format("libnvonnxparser.so.{}", NV_TENSORRT_MAJOR));
  return library;
}

template <class Object>
Nv<Object> owned(void* made, const char* what) {
  if (made != nullptr) return Nv<Object>(static_cast<Object*>(made));
  throw Error("TensorRT", fmt::format("made no {}", what),
              "Its log has the reason: no GPU, or a driver too old for it");
}

}  // namespace

Nv<nvinfer1::IBuilder> make_builder(nvinfer1::ILogger& logger) {
  auto* make = symbol<void*(void*, int32_t)>(nvinfer(), "createInferBuilder_INTERNAL");
  return owned<nvinfer1::IBuilder>(make(&logger, NV_TENSORRT_VERSION), "builder");
}

Nv<nvinfer1::IRuntime> make_runtime(nvinfer1::ILogger& logger) {
  auto* make = symbol<void*(void*, int32_t)>(nvinfer(), "createInferRuntime_INTERNAL");
  return owned<nvinfer1::IRuntime>(make(&logger, NV_TENSORRT_VERSION), "runtime");
}

Nv<nvonnxparser::IParser> make_parser(nvinfer1::INetworkDefinition& network,
                                      nvinfer1::ILogger& logger) {
  auto* make = symbol<void*(void*, void*, int)>(parser_library(), "createNvOnnxParser_INTERNAL");
  return owned<nvonnxparser::IParser>(make(&network, &logger, NV_ONNX_PARSER_VERSION), "parser");
}

nvinfer1::IPluginRegistry& plugin_registry() {
  auto* get = symbol<nvinfer1::IPluginRegistry*()>(nvinfer(), "getPluginRegistry");
  return *get();
}

int nvinfer_version() { return symbol<int32_t()>(nvinfer(), "getInferLibVersion")(); }

}  // namespace twofour::tensorrt
