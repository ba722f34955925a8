// 2:4 products on the device: weights compressed once, products of any number of rows through the
// plans of a cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/plan_cache.h"
#include "twofour/backend/cuda/product.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

// In the library's own layout, which serves every m and algorithm and is never stored in a file.
class CompressedWeight {
 public:
  // `weight` [n, k] of product.input, row-major with zeros in place, on the host or the device.
  // Waits for the stream. Throws Error naming `name` where rejects() gives a reason, where the
  // weight is not 2:4, and where the device lacks memory.
  CompressedWeight(PlanCache& cache, const ProductDesc& product, const void* weight, int device,
                   StreamHandle stream, std::string_view name);

  const void* data() const { return memory_.data(); }
  size_t bytes() const { return memory_.size(); }

 private:
  DeviceBuffer memory_;
};

// Device memory that products on one stream share; grows to what they need.
struct SpmmScratch {
  DeviceBuffer workspace;
  DeviceBuffer x_tail, y_tail;  // rows without room behind them
};

// All pointers are to device memory, aligned to 16 bytes, but for `alpha` where the product has no
// channel scales.
struct SpmmArgs {
  int64_t m = 0;
  int64_t room = 0;              // rows that may be read from x and written to y: m or more
  const void* x = nullptr;       // [room, k]; rows from m on may hold anything
  const void* weight = nullptr;  // CompressedWeight::data()
  void* y = nullptr;             // [room, n]; rows from m on are overwritten with anything
  const float* alpha = nullptr;  // f32 on the host; with channel scales f32 [n] on the device
};

// Makes the plans and the scratch memory that spmm24() of m rows needs, which it then finds for as
// long as the plans are held.
std::vector<std::shared_ptr<const MatmulPlan>> prepare_spmm24(PlanCache& cache,
                                                              const ProductDesc& product, int64_t m,
                                                              int64_t room, int device,
                                                              SpmmScratch& scratch);

// Enqueues y = activation(alpha * x W^T + bias) on `stream`. Where the rows' bucket has no room,
// the rows left over from whole buckets go through `scratch`: they alone are copied. Throws Error
// where the library or the runtime fails.
void spmm24(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
            StreamHandle stream, SpmmScratch& scratch);

// What products of up to max_m rows need beside x, y and the weight, where the caller may not
// allocate while they run. Makes the plan of every bucket that they can take.
size_t spmm24_workspace_bytes(PlanCache& cache, const ProductDesc& product, int64_t max_m,
                              int device);

// The same with that memory, aligned to 256 bytes.
void spmm24(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
            StreamHandle stream, std::byte* memory);

// Makes the plans that a product of m rows with that room will run with.
void prepare_spmm24(PlanCache& cache, const ProductDesc& product, int64_t m, int64_t room,
                    int device);

}  // namespace twofour::cuda
