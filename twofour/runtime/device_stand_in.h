// A device without a GPU, for tests: stand-ins of the runtime and of NVIDIA's libraries, and our
// own kernels run on the host.
#pragma once

#include <memory>
#include <string>

#include "twofour/backend/cuda/device.h"
#include "twofour/backend/cuda/host_kernels.h"
#include "twofour/backend/cuda/testing.h"
#include "twofour/backend/cuda/testing_dense.h"
#include "twofour/runtime/device_plan.h"
#include "twofour/runtime/engine.h"

namespace twofour {

// Outlives the engines made on it.
struct DeviceStandIn {
  cuda::FakeRuntime runtime;
  cuda::HostKernels kernels{runtime};
  // Of the last device made; they live as long as it does.
  cuda::FakeCusparseLt* sparse = nullptr;
  cuda::FakeCublasLt* dense = nullptr;

  cuda::DeviceLibraries libraries() {
    return {&runtime, &kernels,
            [this]() -> std::unique_ptr<cuda::CusparseLt> {
              auto made = std::make_unique<cuda::FakeCusparseLt>(runtime);
              sparse = made.get();
              return made;
            },
            [this]() -> std::unique_ptr<cuda::CublasLt> {
              auto made = std::make_unique<cuda::FakeCublasLt>(runtime);
              dense = made.get();
              return made;
            }};
  }

  std::shared_ptr<cuda::Device> device(int ordinal = 0, size_t max_plans = 0) {
    return std::make_shared<cuda::Device>(libraries(), ordinal,
                                          cuda::encoder_buckets(kDeviceTokens), max_plans);
  }

  std::shared_ptr<const Engine> load(const ModelDirectory& model,
                                     const EngineOptions& options = {}) {
    return Engine::load_on(model, options, device());
  }
};

}  // namespace twofour
