#include "twofour/tensorrt/builder/nvinfer_engine.h"

#include <memory>

#include "twofour/base/error.h"

namespace twofour::tensorrt {
namespace {

using nvinfer1::DataType;

DType dtype_of(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return DType::kF32;
    case DataType::kHALF:
      return DType::kF16;
    case DataType::kINT32:
      return DType::kI32;
#if NV_TENSORRT_MAJOR >= 10
    case DataType::kINT64:
      return DType::kI64;
#endif
    default:
      return DType::kU8;  // of no tensor of ours
  }
}

std::vector<EngineTensor> tensors_of(const nvinfer1::ICudaEngine& engine) {
  std::vector<EngineTensor> tensors;
  for (int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
    const char* name = engine.getIOTensorName(i);
    tensors.push_back({name, engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT,
                       dtype_of(engine.getTensorDataType(name))});
  }
  return tensors;
}

class NvContext final : public ExecutionContext {
 public:
  NvContext(Nv<nvinfer1::IExecutionContext> context, Logger& logger)
      : context_(std::move(context)), logger_(logger) {}

  bool set_shape(const std::string& input, int64_t sequences, int64_t length) override {
    nvinfer1::Dims shape{};
    using Dimension = std::remove_reference_t<decltype(shape.d[0])>;
    shape.nbDims = 2;
    shape.d[0] = static_cast<Dimension>(sequences);
    shape.d[1] = static_cast<Dimension>(length);
    return context_->setInputShape(input.c_str(), shape);
  }
  bool set_address(const std::string& tensor, void* memory) override {
    return context_->setTensorAddress(tensor.c_str(), memory);
  }
  int64_t elements(const std::string& tensor) override {
    const nvinfer1::Dims shape = context_->getTensorShape(tensor.c_str());
    int64_t count = 1;
    for (int32_t i = 0; i < shape.nbDims; ++i) {
      if (shape.d[i] < 0) return -1;
      count *= shape.d[i];
    }
    return shape.nbDims < 0 ? -1 : count;
  }
  bool enqueue(cuda::StreamHandle stream) override {
    return context_->enqueueV3(static_cast<cudaStream_t>(stream));
  }
  std::string take_errors() override { return logger_.take_errors(); }

 private:
  Nv<nvinfer1::IExecutionContext> context_;
  Logger& logger_;
};

}  // namespace

NvEngine::NvEngine(std::string_view plan, std::string_view bytes, cuda::Runtime& runtime,
                   int device)
    : runtime_(runtime),
      device_(device),
      nv_runtime_(make_runtime(logger_)),
      engine_(nv_runtime_->deserializeCudaEngine(bytes.data(), bytes.size())),
      file_bytes_(bytes.size()) {
  if (engine_ == nullptr)
    throw Error(plan, "TensorRT cannot open it: " + logger_.take_errors(),
                "Build it again with twofour build-engine");
  tensors_ = tensors_of(*engine_);
  check_tensors(plan, tensors_);
  batch_ = range_of(plan, 0);
  length_ = range_of(plan, 1);
}

// All inputs have the same.
DimensionRange NvEngine::range_of(std::string_view plan, int32_t axis) const {
  using Selector = nvinfer1::OptProfileSelector;
  const auto at = [&](Selector selector) -> int64_t {
    const nvinfer1::Dims dims = engine_->getProfileShape(kInputIds, 0, selector);
    if (dims.nbDims == 2) return dims.d[axis];
    throw Error(plan, "has no bounds of batch and length",
                "Build it from a file of twofour export --target tensorrt");
  };
  return {at(Selector::kMIN), at(Selector::kOPT), at(Selector::kMAX)};
}

std::unique_ptr<TensorRtContext> NvEngine::make_context(void* stream) {
  const cuda::DeviceGuard guard(runtime_, device_);
  const std::lock_guard lock(mutex_);
  Nv<nvinfer1::IExecutionContext> context(engine_->createExecutionContext());
  if (context == nullptr)
    throw Error("TensorRT", "made no execution context: " + logger_.take_errors());
#if NV_TENSORRT_MAJOR < 10
  // Contexts behind an engine's first have no profile yet.
  if (context->getOptimizationProfile() != 0) {
    if (!context->setOptimizationProfileAsync(0, static_cast<cudaStream_t>(stream)))
      throw Error("TensorRT", "shares no profile between sessions: " + logger_.take_errors());
    cuda::check(runtime_, runtime_.synchronize(stream), "cudaStreamSynchronize");
  }
#endif
  return std::make_unique<EngineRunner>(runtime_, device_, tensors_,
                                        std::make_unique<NvContext>(std::move(context), logger_),
                                        stream);
}

}  // namespace twofour::tensorrt
