// An engine that TensorRT has opened, as the run half drives it.
#pragma once

#include <NvInfer.h>

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/progress.h"
#include "twofour/tensorrt/builder/engine_builder.h"
#include "twofour/tensorrt/builder/nvinfer_libraries.h"
#include "twofour/tensorrt/engine_runner.h"
#include "twofour/tensorrt/run_api.h"

namespace twofour::tensorrt {

class NvEngine final : public TensorRtEngine {
 public:
  // `bytes` are those of `plan`; `device` is current. Throws Error: TensorRT cannot open it, it is
  // no engine of a model of this library.
  NvEngine(std::string_view plan, std::string_view bytes, cuda::Runtime& runtime, int device);

  DimensionRange batch() const override { return batch_; }
  DimensionRange length() const override { return length_; }
  uint64_t file_bytes() const override { return file_bytes_; }
  std::unique_ptr<TensorRtContext> make_context(void* stream) override;

 private:
  DimensionRange range_of(std::string_view plan, int32_t axis) const;

  cuda::Runtime& runtime_;
  int device_;
  Callbacks callbacks_;  // nobody listens: errors become Errors
  Logger logger_{callbacks_};
  Nv<nvinfer1::IRuntime> nv_runtime_;
  Nv<nvinfer1::ICudaEngine> engine_;
  std::vector<EngineTensor> tensors_;
  DimensionRange batch_, length_;
  uint64_t file_bytes_;
  std::mutex mutex_;  // of the engine, while it makes contexts
};

}  // namespace twofour::tensorrt
