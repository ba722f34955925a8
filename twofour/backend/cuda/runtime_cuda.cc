// The interface over NVIDIA's runtime library; compiled only in a build with CUDA.
#include <cuda_runtime_api.h>

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
      out = {found.name, found.major, found.minor, found.totalGlobalMem, found.multiProcessorCount};
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
};

}  // namespace

Runtime& runtime() {
  static NvidiaRuntime nvidia;
  return nvidia;
}

}  // namespace twofour::cuda
