// From an ONNX file of twofour export to a TensorRT engine.
#pragma once

#include <NvInfer.h>

#include <mutex>
#include <string>
#include <vector>

#include "twofour/base/progress.h"
#include "twofour/tensorrt/api.h"
#include "twofour/tensorrt/builder/nvinfer_libraries.h"

namespace twofour::tensorrt {

// Hands TensorRT's warnings on and keeps its errors for an exception's text. Thread-safe as far as
// the callbacks are.
class Logger final : public nvinfer1::ILogger {
 public:
  explicit Logger(const Callbacks& callbacks) : callbacks_(callbacks) {}
  void log(Severity severity, const char* message) noexcept override;
  // What was logged as an error since the last call.
  std::string take_errors();

 private:
  const Callbacks& callbacks_;
  std::mutex mutex_;
  std::string errors_;
};

class EngineBuilder {
 public:
  EngineBuilder(const BuildEngineRequest& request, Logger& logger);

  // A serialized plan with detailed layer information. Types are those of the file (strongly typed
  // networks; in TensorRT 8.6 fp16 and int8 are permitted where the file has them). `sparse`
  // permits sparse kernels. Throws Error with what TensorRT's parser or builder says.
  Nv<nvinfer1::IHostMemory> build(bool sparse);

 private:
  Nv<nvinfer1::INetworkDefinition> parse();
  Nv<nvinfer1::IBuilderConfig> configure(const nvinfer1::INetworkDefinition& network, bool sparse);
  void add_profile(const nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config);
  Nv<nvinfer1::ITimingCache> load_timing_cache(nvinfer1::IBuilderConfig& config);
  void save_timing_cache(const nvinfer1::ITimingCache& cache) const;

  const BuildEngineRequest& request_;
  Logger& logger_;
  Nv<nvinfer1::IBuilder> builder_;
  Nv<nvonnxparser::IParser> parser_;
};

// The engine inspector's JSON.
std::string inspect(nvinfer1::ICudaEngine& engine);

}  // namespace twofour::tensorrt
