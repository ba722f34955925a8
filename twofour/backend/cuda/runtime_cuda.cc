// The interface over NVIDIA's runtime library; compiled only in a build with CUDA.
#include <cuda_runtime_api.h>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define TWOFOUR_NVTX 1
#endif

#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {
namespace {

// A failed call stays the thread's last error, which launches of kernels look at: take it back.
Status status_of(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<Status>(error);
}

cudaStream_t stream_of(StreamHandle stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(EventHandle event) { return static_cast<cudaEvent_t>(event); }

class NvidiaRuntime final : public Runtime {
 public:
  std::string status_text(Status status) const override {
    return cudaGetErrorString(static_cast<cudaError_t>(status));
  }
  Status driver_version(int& version) override { return status_of(cudaDriverGetVersion(&version)); }
  Status runtime_version(int& version) override {
    return status_of(cudaRuntimeGetVersion(&version));
  }
  Status device_count(int& count) override { return status_of(cudaGetDeviceCount(&count)); }
  Status current_device(int& device) override { return status_of(cudaGetDevice(&device)); }
  Status set_device(int device) override { return status_of(cudaSetDevice(device)); }
  Status properties(int device, DeviceProperties& out) override {
    cudaDeviceProp found{};
    const Status status = status_of(cudaGetDeviceProperties(&found, device));
    if (status == Status::kSuccess) {
      out = {found.name,
             found.major,
             found.minor,
             found.totalGlobalMem,
             found.multiProcessorCount,
             static_cast<size_t>(found.l2CacheSize)};
    }
    return status;
  }
  Status memory(size_t& free, size_t& total) override {
    return status_of(cudaMemGetInfo(&free, &total));
  }

  Status allocate(void*& memory, size_t bytes) override {
    return status_of(cudaMalloc(&memory, bytes));
  }
  Status release(void* memory) override { return status_of(cudaFree(memory)); }
  Status copy(void* to, const void* from, size_t bytes, StreamHandle stream) override {
    return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)));
  }
  Status fill(void* to, int value, size_t bytes, StreamHandle stream) override {
    return status_of(cudaMemsetAsync(to, value, bytes, stream_of(stream)));
  }

  Status allocate_pinned(void*& memory, size_t bytes) override {
    return status_of(cudaMallocHost(&memory, bytes));
  }
  Status release_pinned(void* memory) override { return status_of(cudaFreeHost(memory)); }

  Status create_stream(StreamHandle& stream) override {
    cudaStream_t made = nullptr;
    const Status status = status_of(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
    stream = made;
    return status;
  }
  Status destroy_stream(StreamHandle stream) override {
    return status_of(cudaStreamDestroy(stream_of(stream)));
  }
  Status synchronize(StreamHandle stream) override {
    return status_of(cudaStreamSynchronize(stream_of(stream)));
  }

  Status create_event(EventHandle& event) override {
    cudaEvent_t made = nullptr;
    const Status status = status_of(cudaEventCreate(&made));
    event = made;
    return status;
  }
  Status destroy_event(EventHandle event) override {
    return status_of(cudaEventDestroy(event_of(event)));
  }
  Status record(EventHandle event, StreamHandle stream) override {
    return status_of(cudaEventRecord(event_of(event), stream_of(stream)));
  }
  Status elapsed(float& ms, EventHandle begin, EventHandle end) override {
    return status_of(cudaEventElapsedTime(&ms, event_of(begin), event_of(end)));
  }
  Status wait(StreamHandle stream, EventHandle event) override {
    return status_of(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
  }

  Status begin_capture(StreamHandle stream) override {
    return status_of(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
  }
  Status end_capture(StreamHandle stream, GraphHandle& graph) override {
    cudaGraph_t captured = nullptr;
    Status status = status_of(cudaStreamEndCapture(stream_of(stream), &captured));
    if (status != Status::kSuccess) return status;
    cudaGraphExec_t executable = nullptr;
    status = status_of(cudaGraphInstantiate(&executable, captured, 0));
    graph = executable;
    cudaGraphDestroy(captured);
    return status;
  }
  Status launch(GraphHandle graph, StreamHandle stream) override {
    return status_of(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
  }
  Status destroy_graph(GraphHandle graph) override {
    return status_of(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
  }

#if defined(TWOFOUR_NVTX)
  void begin_range(const char* name) override { nvtxRangePushA(name); }
  void end_range() override { nvtxRangePop(); }
#else
  void begin_range(const char*) override {}
  void end_range() override {}
#endif
};

}  // namespace

Runtime& runtime() {
  static NvidiaRuntime nvidia;
  return nvidia;
}

}  // namespace twofour::cuda
