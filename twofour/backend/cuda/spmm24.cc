#include "twofour/backend/cuda/spmm24.h"

#include <fmt/format.h>

#include <memory>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

using Weight = Owned<MatrixDescriptor>;

std::unique_ptr<Weight> describe_weight(CusparseLt& library, const Handle& handle,
                                        const ProductDesc& product) {
  return std::make_unique<Weight>(
      library, "cusparseLtStructuredDescriptorInit", [&](MatrixDescriptor& matrix) {
        return library.init_structured(handle, matrix, weight_layout(product));
      });
}

// Throws Error unless the weight on the device is 2:4.
void check_pattern(PlanCache& cache, const Handle& handle, const Weight& weight,
                   const DeviceBuffer& dense, StreamHandle stream, std::string_view name) {
  Runtime& runtime = cache.runtime();
  const DeviceBuffer verdict(runtime, sizeof(int), name);
  int* d_valid = reinterpret_cast<int*>(verdict.data());
  check(cache.cusparselt(),
        cache.cusparselt().check_pruned(handle, weight.get(), dense.data(), d_valid, stream),
        "cusparseLtSpMMAPruneCheck2");
  int valid = 1;
  check(runtime, runtime.copy(&valid, d_valid, sizeof valid, stream), "cudaMemcpyAsync");
  check(runtime, runtime.synchronize(stream), "cudaStreamSynchronize");
  if (valid != 0)
    throw Error(name, "more than two of four weights along k are not zero", "Prune it to 2:4");
}

// The library allocates on its own too: it says "out of memory" by one of two statuses.
void check_compressed(const CusparseLt& library, SparseStatus status, const ProductDesc& product,
                      std::string_view name) {
  if (status == SparseStatus::kAllocFailed || status == SparseStatus::kInsufficientResources) {
    throw Error(name,
                fmt::format("no device memory left to compress [{}, {}] {}", product.n, product.k,
                            dtype_name(product.input)),
                "Free memory of the device");
  }
  check(library, status, "cusparseLtSpMMACompress2");
}

// To at least `bytes`; what it held before is lost. Freeing waits for the device, so that kernels
// that still use the old memory end first.
void grow(DeviceBuffer& buffer, Runtime& runtime, size_t bytes, std::string_view what) {
  if (buffer.size() >= bytes) return;
  buffer.reset();
  buffer = DeviceBuffer(runtime, bytes, what);
}

// One product, with the byte counts of its rows.
class Run {
 public:
  Run(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
      StreamHandle stream, SpmmScratch& scratch)
      : cache_(cache),
        product_(product),
        args_(args),
        device_(device),
        stream_(stream),
        scratch_(scratch),
        x_row_(static_cast<size_t>(product.k) * dtype_bytes(product.input)),
        y_row_(static_cast<size_t>(product.n) * dtype_bytes(product.output)) {}

  void segment(const RowSegment& s) const {
    const auto* x = static_cast<const std::byte*>(args_.x) + s.first * x_row_;
    auto* y = static_cast<std::byte*>(args_.y) + s.first * y_row_;
    s.staged ? staged(s, x, y) : in_place(s.bucket, x, y);
  }

  std::shared_ptr<const MatmulPlan> prepare(const RowSegment& s) const {
    if (s.staged) grow_tails(s);
    auto plan = cache_.plan(product_, s.bucket, device_);
    grow_workspace(*plan);
    return plan;
  }

 private:
  void grow_tails(const RowSegment& s) const {
    grow(scratch_.x_tail, runtime(), s.bucket * x_row_, "spmm24 input tail");
    grow(scratch_.y_tail, runtime(), s.bucket * y_row_, "spmm24 output tail");
  }

  void grow_workspace(const MatmulPlan& plan) const {
    grow(scratch_.workspace, runtime(), plan.workspace_bytes(), "spmm24 workspace");
  }

  void staged(const RowSegment& s, const std::byte* x, std::byte* y) const {
    grow_tails(s);
    std::byte *x_tail = scratch_.x_tail.data(), *y_tail = scratch_.y_tail.data();
    copy(x_tail, x, s.rows * x_row_);
    in_place(s.bucket, x_tail, y_tail);
    copy(y, y_tail, s.rows * y_row_);
  }

  void in_place(int64_t bucket, const std::byte* x, std::byte* y) const {
    constexpr float kZero = 0;
    const auto plan = cache_.plan(product_, bucket, device_);
    MatmulPointers pointers{args_.alpha, args_.weight, x, &kZero, y, y, nullptr};
    grow_workspace(*plan);
    if (plan->workspace_bytes() > 0) pointers.workspace = scratch_.workspace.data();
    plan->run(pointers, stream_);
  }

  void copy(void* to, const void* from, size_t bytes) const {
    check(runtime(), runtime().copy(to, from, bytes, stream_), "cudaMemcpyAsync");
  }
  Runtime& runtime() const { return cache_.runtime(); }

  PlanCache& cache_;
  const ProductDesc& product_;
  const SpmmArgs& args_;
  int device_;
  StreamHandle stream_;
  SpmmScratch& scratch_;
  size_t x_row_, y_row_;
};

}  // namespace

CompressedWeight::CompressedWeight(PlanCache& cache, const ProductDesc& product, const void* weight,
                                   int device, StreamHandle stream, std::string_view name) {
  if (const auto reason = rejects(product)) throw Error(name, *reason, "Run this layer dense");
  CusparseLt& library = cache.cusparselt();
  Runtime& runtime = cache.runtime();
  const DeviceGuard guard(runtime, device);
  const Handle& handle = cache.handle(device);
  const auto descriptor = describe_weight(library, handle, product);

  const size_t dense_bytes =
      static_cast<size_t>(product.n) * product.k * dtype_bytes(product.input);
  const DeviceBuffer dense(runtime, dense_bytes, name);
  check(runtime, runtime.copy(dense.data(), weight, dense_bytes, stream), "cudaMemcpyAsync");
  check_pattern(cache, handle, *descriptor, dense, stream, name);

  size_t bytes = 0, buffer_bytes = 0;
  check(library, library.compressed_bytes(handle, descriptor->get(), bytes, buffer_bytes),
        "cusparseLtSpMMACompressedSize2");
  memory_ = DeviceBuffer(runtime, bytes, name);
  const DeviceBuffer buffer(runtime, buffer_bytes, name);
  check_compressed(library,
                   library.compress(handle, descriptor->get(), dense.data(), memory_.data(),
                                    buffer.data(), stream),
                   product, name);
  check(runtime, runtime.synchronize(stream), "cudaStreamSynchronize");
}

std::vector<std::shared_ptr<const MatmulPlan>> prepare_spmm24(PlanCache& cache,
                                                              const ProductDesc& product, int64_t m,
                                                              int64_t room, int device,
                                                              SpmmScratch& scratch) {
  const DeviceGuard guard(cache.runtime(), device);
  const SpmmArgs none;
  const Run run(cache, product, none, device, nullptr, scratch);
  std::vector<std::shared_ptr<const MatmulPlan>> plans;
  for (const RowSegment& segment : split_rows(cache.buckets(), m, room))
    plans.push_back(run.prepare(segment));
  return plans;
}

void spmm24(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
            StreamHandle stream, SpmmScratch& scratch) {
  const DeviceGuard guard(cache.runtime(), device);
  const Run run(cache, product, args, device, stream, scratch);
  for (const RowSegment& segment : split_rows(cache.buckets(), args.m, args.room))
    run.segment(segment);
}

}  // namespace twofour::cuda
