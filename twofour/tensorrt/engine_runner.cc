#include "twofour/tensorrt/engine_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "twofour/base/error.h"

namespace twofour::tensorrt {
namespace {

constexpr const char* kWhere = "TensorRT";
constexpr std::string_view kRemedy = "Build it from a file of twofour export --target tensorrt";

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

bool is_integer(DType type) { return type == DType::kI32 || type == DType::kI64; }

std::span<const int32_t> numbers_for(std::string_view input, const PaddedBatch& batch) {
  if (input == kInputIds) return batch.ids;
  return input == kAttentionMask ? batch.mask : batch.type_ids;
}

// TensorRT 8 and 9 read the file's int64 as int32.
void write(std::span<const int32_t> numbers, DType type, std::byte* to) {
  if (type == DType::kI32)
    std::copy(numbers.begin(), numbers.end(), reinterpret_cast<int32_t*>(to));
  else
    std::copy(numbers.begin(), numbers.end(), reinterpret_cast<int64_t*>(to));
}

}  // namespace

void check_tensors(std::string_view plan, std::span<const EngineTensor> tensors) {
  int outputs = 0;
  for (const EngineTensor& tensor : tensors) {
    const bool known = tensor.input ? is_input_name(tensor.name) && is_integer(tensor.type)
                                    : tensor.type == DType::kF32 && ++outputs == 1;
    if (known) continue;
    throw Error(
        plan,
        fmt::format("has an {} '{}' of type {}, which no model of this library has",
                    tensor.input ? "input" : "output", tensor.name, dtype_name(tensor.type)),
        kRemedy);
  }
  if (tensors.size() != 4) {
    throw Error(plan, fmt::format("has {} inputs and outputs, expected 3 and 1", tensors.size()),
                kRemedy);
  }
}

EngineRunner::EngineRunner(cuda::Runtime& runtime, int device,
                           std::span<const EngineTensor> tensors,
                           std::unique_ptr<ExecutionContext> context, cuda::StreamHandle stream)
    : runtime_(runtime), device_(device), stream_(stream), context_(std::move(context)) {
  for (const EngineTensor& tensor : tensors) tensors_.push_back({tensor});
  std::stable_partition(tensors_.begin(), tensors_.end(),
                        [](const Placed& tensor) { return tensor.input; });
  if (stream_ != nullptr) return;
  const cuda::DeviceGuard guard(runtime_, device_);
  own_stream_ = std::make_unique<cuda::Stream>(runtime_);
  stream_ = own_stream_->handle();
}

// Memory of the host must not go while the device still copies from it.
EngineRunner::~EngineRunner() { runtime_.synchronize(stream_); }

void EngineRunner::run(const PaddedBatch& batch, std::span<float> output) {
  const cuda::DeviceGuard guard(runtime_, device_);
  place(batch, output.size());
  set_shapes(batch, output.size());
  for (const Placed& tensor : tensors_) {
    if (tensor.input)
      write(numbers_for(tensor.name, batch), tensor.type, staging_.data() + tensor.offset);
    if (!context_->set_address(tensor.name, memory_.data() + tensor.offset))
      fail(fmt::format("takes no memory for '{}'", tensor.name));
  }
  enqueue();
  const size_t offset = tensors_.back().offset;
  cuda::check(runtime_,
              runtime_.copy(staging_.data() + offset, memory_.data() + offset, output.size_bytes(),
                            stream_),
              "cudaMemcpyAsync");
  cuda::check(runtime_, runtime_.synchronize(stream_), "cudaStreamSynchronize");
  std::memcpy(output.data(), staging_.data() + offset, output.size_bytes());
}

void EngineRunner::place(const PaddedBatch& batch, size_t output_count) {
  size_t bytes = 0;
  for (Placed& tensor : tensors_) {
    tensor.offset = bytes;
    bytes += aligned(dtype_bytes(tensor.type) * (tensor.input ? batch.ids.size() : output_count));
  }
  if (bytes <= memory_.size()) return;
  // The old memory goes first: two of them may not fit.
  memory_ = {};
  staging_ = {};
  staging_ = cuda::PinnedBuffer(runtime_, bytes);
  memory_ = cuda::DeviceBuffer(runtime_, bytes, "Session::run");
}

void EngineRunner::set_shapes(const PaddedBatch& batch, size_t output_count) {
  for (const Placed& tensor : tensors_) {
    if (tensor.input && !context_->set_shape(tensor.name, batch.sequences, batch.length)) {
      fail(fmt::format("takes no {} of [{}, {}]", tensor.name, batch.sequences, batch.length));
    }
  }
  const std::string& output = tensors_.back().name;
  if (const int64_t found = context_->elements(output);
      found != static_cast<int64_t>(output_count)) {
    fail(fmt::format("gives {} floats of '{}' for [{}, {}], the model has {}", found, output,
                     batch.sequences, batch.length, output_count));
  }
}

void EngineRunner::enqueue() {
  cuda::check(runtime_,
              runtime_.copy(memory_.data(), staging_.data(), tensors_.back().offset, stream_),
              "cudaMemcpyAsync");
  if (context_->enqueue(stream_)) return;
  runtime_.synchronize(stream_);  // the next batch is written where this one is copied from
  fail("could not run the batch");
}

void EngineRunner::fail(const std::string& what) {
  const std::string errors = context_->take_errors();
  throw Error(kWhere, errors.empty() ? what : what + ": " + errors);
}

}  // namespace twofour::tensorrt
