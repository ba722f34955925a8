// Padded batches through an engine: memory, copies, and which input is which. No TensorRT here:
// builder/ translates.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"
#include "twofour/tensorrt/run_api.h"

namespace twofour::tensorrt {

// An input or output of an engine.
struct EngineTensor {
  std::string name;
  bool input = false;
  DType type = DType::kF32;
};

// What batches need of nvinfer1::IExecutionContext. False where TensorRT refuses.
class ExecutionContext {
 public:
  virtual ~ExecutionContext() = default;
  virtual bool set_shape(const std::string& input, int64_t sequences, int64_t length) = 0;
  virtual bool set_address(const std::string& tensor, void* memory) = 0;
  // Once every input has a shape; negative where TensorRT does not know it.
  virtual int64_t elements(const std::string& tensor) = 0;
  virtual bool enqueue(cuda::StreamHandle stream) = 0;
  // What TensorRT has said of failures since it was last asked.
  virtual std::string take_errors() = 0;
};

// Throws Error(`plan`) unless these are the inputs and the output that twofour export writes.
void check_tensors(std::string_view plan, std::span<const EngineTensor> tensors);

class EngineRunner final : public TensorRtContext {
 public:
  // The tensors are as check_tensors() has them. A null stream: one of its own.
  EngineRunner(cuda::Runtime& runtime, int device, std::span<const EngineTensor> tensors,
               std::unique_ptr<ExecutionContext> context, cuda::StreamHandle stream);
  ~EngineRunner() override;

  void run(const PaddedBatch& batch, std::span<float> output) override;

 private:
  struct Placed : EngineTensor {
    size_t offset = 0;
  };

  void place(const PaddedBatch& batch, size_t output_count);
  void set_shapes(const PaddedBatch& batch, size_t output_count);
  void enqueue();
  [[noreturn]] void fail(const std::string& what);

  cuda::Runtime& runtime_;
  int device_;
  std::vector<Placed> tensors_;  // the output last
  std::unique_ptr<cuda::Stream> own_stream_;
  cuda::StreamHandle stream_;
  // Inputs, then the output; on the host and on the device.
  cuda::PinnedBuffer staging_;
  cuda::DeviceBuffer memory_;
  std::unique_ptr<ExecutionContext> context_;
};

}  // namespace twofour::tensorrt
