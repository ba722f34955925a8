// Launches the bodies of warp.h on a device; included by the .cu files alone.
#pragma once

#include <cuda_runtime_api.h>

#include "twofour/backend/cuda/runtime.h"
#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

template <class Body>
__global__ void __launch_bounds__(Body::kThreads) run_body(const Body body) {
  __shared__ alignas(16) std::byte shared[Body::kSharedBytes > 0 ? Body::kSharedBytes : 1];
  DeviceBlock block(shared);
  body(block, BlockIndex{blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x});
}

class CudaLauncher {
 public:
  // `name` goes into errors.
  CudaLauncher(StreamHandle stream, const char* name) : stream_(stream), name_(name) {}

  template <class Body>
  void run(const Grid& grid, const Body& body) const {
    if (grid.blocks() == 0) return;
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                      static_cast<unsigned>(grid.z));
    run_body<<<blocks, Body::kThreads, 0, static_cast<cudaStream_t>(stream_)>>>(body);
    check(runtime(), static_cast<Status>(cudaGetLastError()), name_);
  }

 private:
  StreamHandle stream_;
  const char* name_;
};

}  // namespace twofour::cuda
