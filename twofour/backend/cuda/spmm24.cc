#include "twofour/backend/cuda/spmm24.h"

#include <fmt/format.h>

#include <algorithm>
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

// Memory of at least `bytes`; what it held before is lost. Freeing waits for the device, so that
// kernels that still use the old memory end first.
std::byte* grow(DeviceBuffer& buffer, Runtime& runtime, size_t bytes, std::string_view what) {
  if (buffer.size() < bytes) {
    buffer.reset();
    buffer = DeviceBuffer(runtime, bytes, what);
  }
  return buffer.data();
}

enum class Part { kWorkspace, kXTail, kYTail };

// Device memory for the parts of a product that need some.
class PartMemory {
 public:
  virtual ~PartMemory() = default;
  virtual std::byte* get(Part part, size_t bytes) = 0;
};

class GrowingMemory final : public PartMemory {
 public:
  GrowingMemory(Runtime& runtime, SpmmScratch& scratch) : runtime_(runtime), scratch_(scratch) {}

  std::byte* get(Part part, size_t bytes) override {
    switch (part) {
      case Part::kXTail:
        return grow(scratch_.x_tail, runtime_, bytes, "spmm24 input tail");
      case Part::kYTail:
        return grow(scratch_.y_tail, runtime_, bytes, "spmm24 output tail");
      default:
        return grow(scratch_.workspace, runtime_, bytes, "spmm24 workspace");
    }
  }

 private:
  Runtime& runtime_;
  SpmmScratch& scratch_;
};

// The tails, whose sizes do not depend on m, and then the workspace of a plan.
struct Tails {
  Tails(const PlanCache& cache, const ProductDesc& product)
      : x(aligned(cache.buckets().smallest() * product.k * dtype_bytes(product.input))),
        y(aligned(cache.buckets().smallest() * product.n * dtype_bytes(product.output))) {}
  static size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

  size_t x, y;
};

class GivenMemory final : public PartMemory {
 public:
  GivenMemory(const PlanCache& cache, const ProductDesc& product, std::byte* memory)
      : tails_(cache, product), memory_(memory) {}

  std::byte* get(Part part, size_t bytes) override {
    if (memory_ == nullptr)
      throw Error("spmm24", fmt::format("no memory was given, {} bytes are needed", bytes));
    if (part == Part::kXTail) return memory_;
    return memory_ + tails_.x + (part == Part::kWorkspace ? tails_.y : 0);
  }

 private:
  Tails tails_;
  std::byte* memory_;
};

// One product, with the byte counts of its rows.
class Run {
 public:
  Run(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
      StreamHandle stream, PartMemory& memory)
      : cache_(cache),
        product_(product),
        args_(args),
        device_(device),
        stream_(stream),
        memory_(memory),
        x_row_(static_cast<size_t>(product.k) * dtype_bytes(product.input)),
        y_row_(static_cast<size_t>(product.n) * dtype_bytes(product.output)) {}

  void segment(const RowSegment& s) const {
    const auto* x = static_cast<const std::byte*>(args_.x) + s.first * x_row_;
    auto* y = static_cast<std::byte*>(args_.y) + s.first * y_row_;
    s.staged ? staged(s, x, y) : in_place(s.bucket, x, y);
  }

  std::shared_ptr<const MatmulPlan> prepare(const RowSegment& s) const {
    if (s.staged) {
      memory_.get(Part::kXTail, s.bucket * x_row_);
      memory_.get(Part::kYTail, s.bucket * y_row_);
    }
    auto plan = cache_.plan(product_, s.bucket, device_);
    memory_.get(Part::kWorkspace, plan->workspace_bytes());
    return plan;
  }

 private:
  void staged(const RowSegment& s, const std::byte* x, std::byte* y) const {
    std::byte* x_tail = memory_.get(Part::kXTail, s.bucket * x_row_);
    std::byte* y_tail = memory_.get(Part::kYTail, s.bucket * y_row_);
    copy(x_tail, x, s.rows * x_row_);
    in_place(s.bucket, x_tail, y_tail);
    copy(y, y_tail, s.rows * y_row_);
  }

  void in_place(int64_t bucket, const std::byte* x, std::byte* y) const {
    constexpr float kZero = 0;
    const auto plan = cache_.plan(product_, bucket, device_);
    MatmulPointers pointers{args_.alpha, args_.weight, x, &kZero, y, y, nullptr};
    if (plan->workspace_bytes() > 0)
      pointers.workspace = memory_.get(Part::kWorkspace, plan->workspace_bytes());
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
  PartMemory& memory_;
  size_t x_row_, y_row_;
};

void run_product(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
                 StreamHandle stream, PartMemory& memory) {
  const DeviceGuard guard(cache.runtime(), device);
  const Run run(cache, product, args, device, stream, memory);
  for (const RowSegment& segment : split_rows(cache.buckets(), args.m, args.room))
    run.segment(segment);
}

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

size_t spmm24_workspace_bytes(PlanCache& cache, const ProductDesc& product, int64_t max_m,
                              int device) {
  const Buckets& buckets = cache.buckets();
  const size_t last = buckets.index_for(std::min(max_m, buckets.limit()));
  size_t most = 0;
  for (size_t i = 0; i <= last; ++i)
    most = std::max(most, cache.plan(product, buckets.rows(i), device)->workspace_bytes());
  const Tails tails(cache, product);
  return tails.x + tails.y + most;
}

std::vector<std::shared_ptr<const MatmulPlan>> prepare_spmm24(PlanCache& cache,
                                                              const ProductDesc& product, int64_t m,
                                                              int64_t room, int device,
                                                              SpmmScratch& scratch) {
  const DeviceGuard guard(cache.runtime(), device);
  const SpmmArgs none;
  GrowingMemory memory(cache.runtime(), scratch);
  const Run run(cache, product, none, device, nullptr, memory);
  std::vector<std::shared_ptr<const MatmulPlan>> plans;
  for (const RowSegment& segment : split_rows(cache.buckets(), m, room))
    plans.push_back(run.prepare(segment));
  return plans;
}

void spmm24(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
            StreamHandle stream, SpmmScratch& scratch) {
  GrowingMemory memory(cache.runtime(), scratch);
  run_product(cache, product, args, device, stream, memory);
}

void spmm24(PlanCache& cache, const ProductDesc& product, const SpmmArgs& args, int device,
            StreamHandle stream, std::byte* memory) {
  GivenMemory given(cache, product, memory);
  run_product(cache, product, args, device, stream, given);
}

void prepare_spmm24(PlanCache& cache, const ProductDesc& product, int64_t m, int64_t room,
                    int device) {
  for (const RowSegment& segment : split_rows(cache.buckets(), m, room))
    cache.plan(product, segment.bucket, device);
}

}  // namespace twofour::cuda
