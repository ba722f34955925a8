#include "twofour/tensorrt/builder/engine_timer.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "twofour/base/error.h"

namespace twofour::tensorrt {
namespace {

constexpr int kWarmUp = 10, kRuns = 100;
constexpr size_t kLargestElement = 8;

size_t bytes_of(const nvinfer1::Dims& dims) {
  size_t bytes = kLargestElement;
  for (int32_t i = 0; i < dims.nbDims; ++i) bytes *= static_cast<size_t>(dims.d[i]);
  return bytes;
}

// A context with memory for every input and output.
class TimedContext {
 public:
  TimedContext(nvinfer1::ICudaEngine& engine, const BuildEngineRequest& request,
               cuda::Runtime& runtime)
      : runtime_(runtime), stream_(runtime), context_(engine.createExecutionContext()) {
    if (context_ == nullptr) throw Error("TensorRT", "made no execution context");
    nvinfer1::Dims shape{};
    shape.nbDims = 2;
    shape.d[0] = static_cast<std::remove_reference_t<decltype(shape.d[0])>>(request.batch.opt);
    shape.d[1] = static_cast<std::remove_reference_t<decltype(shape.d[1])>>(request.length.opt);
    for (const bool inputs : {true, false}) bind(engine, inputs, shape);
  }

  void run() {
    if (!context_->enqueueV3(static_cast<cudaStream_t>(stream_.handle())))
      throw Error("TensorRT", "the engine failed");
  }
  double run_ms() {
    cuda::Event begin(runtime_), end(runtime_);
    begin.record(stream_.handle());
    run();
    end.record(stream_.handle());
    stream_.synchronize();
    return end.ms_since(begin);
  }

 private:
  // Shapes of outputs are known once those of inputs are.
  void bind(nvinfer1::ICudaEngine& engine, bool inputs, const nvinfer1::Dims& shape) {
    for (int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
      const char* name = engine.getIOTensorName(i);
      const bool input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
      if (input != inputs) continue;
      if (input && !context_->setInputShape(name, shape))
        throw Error("TensorRT", std::string("input '") + name + "' takes no such shape");
      const size_t bytes = bytes_of(input ? shape : context_->getTensorShape(name));
      buffers_.emplace_back(runtime_, bytes, name);
      cuda::check(runtime_, runtime_.fill(buffers_.back().data(), 0, bytes, stream_.handle()),
                  "cudaMemsetAsync");
      context_->setTensorAddress(name, buffers_.back().data());
    }
  }

  cuda::Runtime& runtime_;
  cuda::Stream stream_;
  std::vector<cuda::DeviceBuffer> buffers_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

double time_engine(nvinfer1::ICudaEngine& engine, const BuildEngineRequest& request,
                   cuda::Runtime& runtime) {
  TimedContext context(engine, request, runtime);
  for (int i = 0; i < kWarmUp; ++i) context.run();
  std::vector<double> times;
  for (int i = 0; i < kRuns; ++i) times.push_back(context.run_ms());
  std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
  return times[kRuns / 2];
}

}  // namespace twofour::tensorrt
