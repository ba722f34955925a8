// Dense products on the device through cuBLASLt: the baseline of 2:4 products, and what runs where
// those cannot or are slower.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/dense_product.h"
#include "twofour/backend/cuda/plan_file.h"
#include "twofour/backend/cuda/recent_plans.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

// A handle of one device, destroyed with the last plan that uses it.
class DenseHandle {
 public:
  DenseHandle(CublasLt& library, int device);  // which must be current
  ~DenseHandle();
  DenseHandle(const DenseHandle&) = delete;
  DenseHandle& operator=(const DenseHandle&) = delete;

  CublasLt& library() const { return library_; }
  BlasHandle get() const { return handle_; }
  int device() const { return device_; }

 private:
  CublasLt& library_;
  BlasHandle handle_ = nullptr;
  int device_;
};

// One product of `rows` rows with the algorithms that the library proposes for it. Immutable: any
// number of threads may run it.
class DensePlan {
 public:
  // Throws Error where the library fails or has no algorithm.
  DensePlan(std::shared_ptr<const DenseHandle> handle, const ProductDesc& product, int64_t rows,
            size_t workspace_limit, int wanted);
  ~DensePlan();
  DensePlan(const DensePlan&) = delete;
  DensePlan& operator=(const DensePlan&) = delete;

  int64_t rows() const { return rows_; }
  // In the library's order, at least one: `rank` of the others is an index into it.
  const std::vector<DenseAlgorithm>& algorithms() const { return algorithms_; }
  // That of a rank which the list does not reach is rank 0.
  const DenseAlgorithm& algorithm(int rank) const;

  // Enqueues it. alpha is one number; where the results are I32 it must be 1. Throws Error.
  void run(int rank, float alpha, const void* weight, const void* x, void* y, void* workspace,
           StreamHandle stream) const;

 private:
  void make_layout(BlasLayout& made, const MatrixLayout& layout);
  void destroy();

  std::shared_ptr<const DenseHandle> handle_;
  ProductDesc product_;
  int64_t rows_ = 0;
  BlasLayouts layouts_;
  BlasMatmul matmul_ = nullptr;
  std::vector<DenseAlgorithm> algorithms_;
};

struct DenseOptions {
  size_t workspace_limit = size_t{32} << 20;  // bytes that an algorithm may use
  int algorithms = 8;                         // asked of the library for each plan
  size_t max_plans = 512;  // for each device; the least recently used that nobody holds goes first
  PlanTable table;         // ranks found by a search, e.g. of a plan file
};

// Plans by product, rows and device, made when first asked for. Thread-safe.
class DenseCache {
 public:
  // `library` and `runtime` must outlive the cache and all plans. Throws Error unless algorithms
  // and max_plans are > 0.
  DenseCache(CublasLt& library, Runtime& runtime, DenseOptions options);

  CublasLt& cublaslt() const { return library_; }
  Runtime& runtime() const { return runtime_; }

  // Throws Error where dense_rejects() gives a reason, rows < 1 or the library fails.
  std::shared_ptr<const DensePlan> plan(const ProductDesc& product, int64_t rows, int device);

  // From now on max_plans is at least this.
  void reserve(size_t plans);

  // What the table knows for as many rows, in whole buckets of 16; else 0.
  int rank(const ProductDesc& product, int64_t rows) const;

  size_t size(int device);

 private:
  struct Key {
    ProductDesc product;
    int64_t rows = 0;
    auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr)
  };
  struct DevicePlans {
    std::shared_ptr<const DenseHandle> handle;
    DeviceProperties properties;
    RecentPlans<Key, DensePlan> recent;
  };

  DevicePlans& of(int device);

  CublasLt& library_;
  Runtime& runtime_;
  DenseOptions options_;
  std::mutex mutex_;
  size_t max_plans_;
  std::map<int, DevicePlans> devices_;
};

// Grows to what the products on one stream need.
struct DenseScratch {
  DeviceBuffer workspace;
};

// All pointers are to device memory, aligned to 16 bytes.
struct DenseArgs {
  int64_t m = 0;
  const void* x = nullptr;       // [m, k]
  const void* weight = nullptr;  // [n, k] of product.input, row-major
  void* y = nullptr;             // [m, n]
  float alpha = 1;               // 1 where the results are I32
};

// Makes the plan for m rows and the workspace, which matmul_dense() then finds for as long as the
// plan is held.
std::shared_ptr<const DensePlan> prepare_dense(DenseCache& cache, const ProductDesc& product,
                                               int64_t m, int device, DenseScratch& scratch);

// Enqueues y = activation(alpha * x W^T + bias) on `stream`. Throws Error.
void matmul_dense(DenseCache& cache, const ProductDesc& product, const DenseArgs& args, int device,
                  StreamHandle stream, DenseScratch& scratch);

}  // namespace twofour::cuda
