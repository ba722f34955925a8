#include "twofour/backend/cuda/runtime.h"

#include <fmt/format.h>

#include <utility>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

[[noreturn]] void throw_out_of_memory(Runtime& runtime, size_t bytes, std::string_view what) {
  size_t free = 0, total = 0;
  int device = 0;
  runtime.current_device(device);
  const bool known = runtime.memory(free, total) == Status::kSuccess;
  throw Error(what,
              known
                  ? fmt::format("needs {} bytes on cuda:{}, of whose {} bytes {} are free", bytes,
                                device, total, free)
                  : fmt::format("needs {} bytes on cuda:{}, which is out of memory", bytes, device),
              "Use a smaller batch or model, or free memory of the device");
}

std::string failure_text(const Runtime& runtime, Status status, std::string_view call) {
  return fmt::format("{} failed: {}", call, runtime.status_text(status));
}

}  // namespace

void check(const Runtime& runtime, Status status, std::string_view call) {
  if (status == Status::kSuccess) return;
  throw Error("cuda", failure_text(runtime, status, call));
}

DeviceGuard::DeviceGuard(Runtime& runtime, int device) : runtime_(runtime) {
  check(runtime, runtime.current_device(previous_), "cudaGetDevice");
  if (previous_ == device) return;
  check(runtime, runtime.set_device(device), "cudaSetDevice");
  changed_ = true;
}

DeviceGuard::~DeviceGuard() {
  if (changed_) runtime_.set_device(previous_);
}

DeviceBuffer::DeviceBuffer(Runtime& runtime, size_t bytes, std::string_view what)
    : runtime_(&runtime) {
  if (bytes == 0) return;
  void* memory = nullptr;
  const Status status = runtime.allocate(memory, bytes);
  if (status == Status::kOutOfMemory) throw_out_of_memory(runtime, bytes, what);
  check(runtime, status, "cudaMalloc");
  data_ = static_cast<std::byte*>(memory);
  size_ = bytes;
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  if (this == &other) return *this;
  reset();
  runtime_ = other.runtime_;
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void DeviceBuffer::reset() {
  if (data_ != nullptr) runtime_->release(data_);
  data_ = nullptr;
  size_ = 0;
}

PinnedBuffer::PinnedBuffer(Runtime& runtime, size_t bytes) : runtime_(&runtime) {
  if (bytes == 0) return;
  void* memory = nullptr;
  check(runtime, runtime.allocate_pinned(memory, bytes), "cudaMallocHost");
  data_ = static_cast<std::byte*>(memory);
  size_ = bytes;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) runtime_->release_pinned(data_);
}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(runtime_, other.runtime_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Stream::Stream(Runtime& runtime) : runtime_(runtime) {
  check(runtime, runtime.create_stream(handle_), "cudaStreamCreate");
}

Stream::~Stream() { runtime_.destroy_stream(handle_); }

void Stream::synchronize() {
  check(runtime_, runtime_.synchronize(handle_), "cudaStreamSynchronize");
}

Event::Event(Runtime& runtime) : runtime_(runtime) {
  check(runtime, runtime.create_event(handle_), "cudaEventCreate");
}

Event::~Event() { runtime_.destroy_event(handle_); }

void Event::record(StreamHandle stream) {
  check(runtime_, runtime_.record(handle_, stream), "cudaEventRecord");
}

float Event::ms_since(const Event& begin) const {
  float ms = 0;
  check(runtime_, runtime_.elapsed(ms, begin.handle_, handle_), "cudaEventElapsedTime");
  return ms;
}

std::unique_ptr<Graph> Graph::capture(Runtime& runtime, StreamHandle stream,
                                      const std::function<void()>& work, std::string& failure) {
  failure.clear();
  if (const Status status = runtime.begin_capture(stream); status != Status::kSuccess) {
    failure = failure_text(runtime, status, "cudaStreamBeginCapture");
    return nullptr;
  }
  const auto end = [&]() -> std::unique_ptr<Graph> {
    GraphHandle handle = nullptr;
    const Status status = runtime.end_capture(stream, handle);
    if (status == Status::kSuccess) return std::unique_ptr<Graph>(new Graph(runtime, handle));
    if (failure.empty()) failure = failure_text(runtime, status, "cudaStreamEndCapture");
    return nullptr;
  };
  try {
    work();
  } catch (const Error& error) {
    failure = error.what();
  } catch (...) {
    end();
    throw;
  }
  auto graph = end();
  return failure.empty() ? std::move(graph) : nullptr;
}

Graph::~Graph() { runtime_.destroy_graph(handle_); }

void Graph::launch(StreamHandle stream) const {
  check(runtime_, runtime_.launch(handle_, stream), "cudaGraphLaunch");
}

}  // namespace twofour::cuda
