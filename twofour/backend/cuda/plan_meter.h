// Measures the candidates of plan_search.h on a device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/device_kernel.h"
#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/plan_search.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

struct MeterOptions {
  int warm_up = 3;
  int rounds = 5;                          // the median counts
  int runs = 20;                           // in a round
  size_t weight_bytes = size_t{64} << 20;  // of copies that runs take in turns, so that the
                                           // weights come from memory, as in a whole model
  int most_copies = 16;
  bool epilogue = true;  // what follows the product counts too
};

// Every candidate includes what follows the product, unless MeterOptions::epilogue is false: int8
// sums become int8, floats get a bias. The results of the first and last row are compared with the
// host's.
class DeviceMeter final : public PlanMeter {
 public:
  // `sparse` and `dense` may be null. All must outlive the meter.
  DeviceMeter(Runtime& runtime, CusparseLt* sparse, CublasLt* dense, EncoderKernels& kernels,
              int device, const MeterOptions& options = {});
  ~DeviceMeter() override;

  PlanEnvironment environment() override;
  TaskFacts facts(const PlanTask& task) override;
  double measure(const PlanTask& task, const PlanChoice& candidate) override;

 private:
  class Case;  // matrices of a task, on the host and the device

  Case& case_of(const PlanTask& task);
  double timed(const std::function<void(int copy)>& run, int copies);
  void throw_if_lost(const Error& cause);

  Runtime& runtime_;
  CusparseLt* sparse_;
  CublasLt* dense_;
  EncoderKernels& kernels_;
  int device_;
  MeterOptions options_;
  DeviceProperties properties_;
  std::optional<Stream> stream_;
  std::shared_ptr<Owned<Handle>> sparse_handle_;
  std::shared_ptr<const DenseHandle> dense_handle_;
  std::unique_ptr<Case> case_;
};

}  // namespace twofour::cuda
