// The few calls of the CUDA runtime that the back end needs, behind an interface, and owners for
// what they make. Tests put a stand-in in place of the runtime; a build without CUDA has none.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace twofour::cuda {

// By the runtime's own numbers (cudaError_t); others may come.
enum class Status : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kInsufficientDriver = 35,
  kNoDevice = 100,
};

struct DeviceProperties {
  std::string name;          // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;  // compute capability
  size_t memory_bytes = 0;
  int multiprocessors = 0;
  size_t l2_bytes = 0;  // of the cache between the multiprocessors and memory

  int capability() const { return major * 10 + minor; }  // 90 for sm_90
};

using StreamHandle = void*;  // cudaStream_t; null is the default stream
using EventHandle = void*;   // cudaEvent_t
using GraphHandle = void*;   // cudaGraphExec_t

// Streams, events and memory belong to the device that was current when they were made. The current
// device is a property of the calling thread.
class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual std::string status_text(Status status) const = 0;
  virtual Status driver_version(int& version) = 0;  // 13000 for 13.0; 0 without a driver
  virtual Status runtime_version(int& version) = 0;

  virtual Status device_count(int& count) = 0;
  virtual Status current_device(int& device) = 0;
  virtual Status set_device(int device) = 0;
  virtual Status properties(int device, DeviceProperties& out) = 0;
  virtual Status memory(size_t& free, size_t& total) = 0;  // of the current device, in bytes

  virtual Status allocate(void*& memory, size_t bytes) = 0;
  virtual Status release(void* memory) = 0;
  // Either side may be host or device memory. Pageable host memory makes the call synchronous.
  virtual Status copy(void* to, const void* from, size_t bytes, StreamHandle stream) = 0;
  virtual Status fill(void* to, int value, size_t bytes, StreamHandle stream) = 0;
  // Host memory that copies reach without the processor's help.
  virtual Status allocate_pinned(void*& memory, size_t bytes) = 0;
  virtual Status release_pinned(void* memory) = 0;

  virtual Status create_stream(StreamHandle& stream) = 0;
  virtual Status destroy_stream(StreamHandle stream) = 0;
  virtual Status synchronize(StreamHandle stream) = 0;

  virtual Status create_event(EventHandle& event) = 0;
  virtual Status destroy_event(EventHandle event) = 0;
  virtual Status record(EventHandle event, StreamHandle stream) = 0;
  virtual Status elapsed(float& ms, EventHandle begin, EventHandle end) = 0;
  // What is enqueued on `stream` from now on waits for the event.
  virtual Status wait(StreamHandle stream, EventHandle event) = 0;

  // Between the two, what the calling thread enqueues on `stream` does not run but becomes a graph,
  // which runs whenever it is launched, on any stream. After a failure the stream captures no more.
  virtual Status begin_capture(StreamHandle stream) = 0;
  virtual Status end_capture(StreamHandle stream, GraphHandle& graph) = 0;
  virtual Status launch(GraphHandle graph, StreamHandle stream) = 0;
  virtual Status destroy_graph(GraphHandle graph) = 0;

  // Named ranges of the calling thread for a profiler (NVTX). `name` is not kept.
  virtual void begin_range(const char* name) = 0;
  virtual void end_range() = 0;
};

// The runtime that this build is linked to. Throws Error in a build without CUDA.
Runtime& runtime();

// Throws Error("cuda", "<call> failed: <text of the status>") unless `status` is success. Every
// status passes through here.
void check(const Runtime& runtime, Status status, std::string_view call);

// Makes `device` current in this thread for as long as it lives.
class DeviceGuard {
 public:
  DeviceGuard(Runtime& runtime, int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  Runtime& runtime_;
  int previous_ = 0;
  bool changed_ = false;
};

// Uninitialized memory of the current device.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Throws Error naming `what` (a tensor), the bytes asked for and the bytes free where the device
  // is out of memory.
  DeviceBuffer(Runtime& runtime, size_t bytes, std::string_view what);
  ~DeviceBuffer() { reset(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  void reset();

 private:
  Runtime* runtime_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Uninitialized pinned memory of the host.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(Runtime& runtime, size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept { *this = std::move(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Runtime* runtime_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

class Stream {
 public:
  explicit Stream(Runtime& runtime);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  StreamHandle handle() const { return handle_; }
  void synchronize();

 private:
  Runtime& runtime_;
  StreamHandle handle_ = nullptr;
};

class Event {
 public:
  explicit Event(Runtime& runtime);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(StreamHandle stream);
  // Both events must have been recorded and have happened.
  float ms_since(const Event& begin) const;
  EventHandle handle() const { return handle_; }

 private:
  Runtime& runtime_;
  EventHandle handle_ = nullptr;
};

// What `work` enqueues on a stream, to be launched again and again.
class Graph {
 public:
  // Null where the stream or something that was enqueued cannot be captured, or `work` throws
  // Error: `failure` says what failed. Whatever else `work` throws passes on.
  static std::unique_ptr<Graph> capture(Runtime& runtime, StreamHandle stream,
                                        const std::function<void()>& work, std::string& failure);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(StreamHandle stream) const;

 private:
  Graph(Runtime& runtime, GraphHandle handle) : runtime_(runtime), handle_(handle) {}

  Runtime& runtime_;
  GraphHandle handle_;
};

// A range of the profiler for as long as it lives.
class Range {
 public:
  Range(Runtime& runtime, const char* name) : runtime_(runtime) { runtime_.begin_range(name); }
  ~Range() { runtime_.end_range(); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  Runtime& runtime_;
};

}  // namespace twofour::cuda
