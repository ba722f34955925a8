// Measures the candidates of plan_search.h on a device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
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
  int rounds = 5;        // the median counts
  int runs = 20;         // in a round, at least
  double round_ms = 2;   // that a round takes, at least
  bool epilogue = true;  // what follows the product counts too
};

// Every candidate includes what follows the product, unless MeterOptions::epilogue is false: int8
// sums become int8, floats get a bias. Of int8 products with F16 or BF16 results cuSPARSELt scales
// and adds the bias itself; for other candidates our kernel does it, whatever the option. As in a
// whole model the weights come from memory: copies of them, together four times as large as the
// device's L2 cache, take turns. The results of the first and last row are compared with the
// host's.
class DeviceMeter final : public PlanMeter {
 public:
  // `sparse` and `dense` may be null. All must outlive the meter.
  DeviceMeter(Runtime& runtime, CusparseLt* sparse, CublasLt* dense, EncoderKernels& kernels,
              int device, const MeterOptions& options = {});
  ~DeviceMeter() override;

  PlanEnvironment environment() override;
  TaskFacts facts(const PlanTask& task) override;
  PlanTime measure(const PlanTask& task, const PlanChoice& candidate) override;

 private:
  class Weights;
  class Case;

  DeviceBuffer upload(const void* data, size_t bytes, std::string_view what) const;
  Case& case_of(const PlanTask& task);
  double round_us(const std::function<void()>& round);
  PlanTime timed(const std::function<void(size_t copy)>& run, size_t copies);
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
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Case> case_;
};

}  // namespace twofour::cuda
