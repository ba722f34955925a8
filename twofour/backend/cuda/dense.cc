#include "twofour/backend/cuda/dense.h"

#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/error.h"

namespace twofour::cuda {

DenseHandle::DenseHandle(CublasLt& library, int device) : library_(library), device_(device) {
  check(library, library.create(handle_), "cublasLtCreate");
}

DenseHandle::~DenseHandle() { library_.destroy(handle_); }

DensePlan::DensePlan(std::shared_ptr<const DenseHandle> handle, const ProductDesc& product,
                     int64_t rows, size_t workspace_limit, int wanted)
    : handle_(std::move(handle)), product_(product), rows_(rows) {
  CublasLt& library = handle_->library();
  try {
    make_layout(layouts_.a, dense_weight_layout(product));
    make_layout(layouts_.b, dense_input_layout(product, rows));
    make_layout(layouts_.d, dense_output_layout(product, rows));
    check(library, library.create_matmul(matmul_, product.sum(), dense_scale_type(product)),
          "cublasLtMatmulDescCreate");
    check(library, library.set_epilogue(matmul_, product.activation, product.bias),
          "setting the epilogue");
    check(
        library,
        library.algorithms(handle_->get(), matmul_, layouts_, workspace_limit, wanted, algorithms_),
        "cublasLtMatmulAlgoGetHeuristic");
    if (algorithms_.empty()) {
      throw Error("cuBLASLt",
                  fmt::format("has no algorithm for {} with {} rows", product.to_string(), rows));
    }
  } catch (...) {
    destroy();
    throw;
  }
}

DensePlan::~DensePlan() { destroy(); }

void DensePlan::make_layout(BlasLayout& made, const MatrixLayout& layout) {
  check(handle_->library(), handle_->library().create_layout(made, layout),
        "cublasLtMatrixLayoutCreate");
}

void DensePlan::destroy() {
  CublasLt& library = handle_->library();
  if (matmul_ != nullptr) library.destroy_matmul(matmul_);
  for (const BlasLayout layout : {layouts_.a, layouts_.b, layouts_.d}) {
    if (layout != nullptr) library.destroy_layout(layout);
  }
}

const DenseAlgorithm& DensePlan::algorithm(int rank) const {
  return algorithms_[rank < static_cast<int>(algorithms_.size()) ? rank : 0];
}

void DensePlan::run(int rank, float alpha, const void* weight, const void* x, void* y,
                    void* workspace, StreamHandle stream) const {
  constexpr float kZero = 0;
  constexpr int32_t kIntegerOne = 1, kIntegerZero = 0;
  MatmulPointers pointers{&alpha, weight, x, &kZero, y, y, workspace};
  if (dense_scale_type(product_) == DType::kI32) {
    if (alpha != 1)
      throw Error("matmul_dense", fmt::format("alpha is {}, expected 1 for I32 results", alpha));
    pointers.alpha = &kIntegerOne;
    pointers.beta = &kIntegerZero;
  }
  CublasLt& library = handle_->library();
  check(library,
        library.matmul(handle_->get(), matmul_, layouts_, algorithm(rank), pointers, stream),
        "cublasLtMatmul");
}

DenseCache::DenseCache(CublasLt& library, Runtime& runtime, DenseOptions options)
    : library_(library),
      runtime_(runtime),
      options_(std::move(options)),
      max_plans_(options_.max_plans) {
  if (options_.algorithms < 1 || options_.max_plans == 0) {
    throw Error("DenseCache", fmt::format("algorithms is {} and max_plans {}, expected 1 or more",
                                          options_.algorithms, options_.max_plans));
  }
}

DenseCache::DevicePlans& DenseCache::of(int device) {
  DevicePlans& plans = devices_[device];
  if (plans.handle != nullptr) return plans;
  const DeviceGuard guard(runtime_, device);
  check(runtime_, runtime_.properties(device, plans.properties), "cudaGetDeviceProperties");
  plans.handle = std::make_shared<const DenseHandle>(library_, device);
  return plans;
}

std::shared_ptr<const DensePlan> DenseCache::plan(const ProductDesc& product, int64_t rows,
                                                  int device) {
  if (rows < 1) throw Error("DenseCache", fmt::format("m is {}, expected 1 or more", rows));
  const std::lock_guard lock(mutex_);
  DevicePlans& plans = of(device);
  const Key key{product, rows};
  if (auto found = plans.recent.find(key)) return found;
  if (const auto reason = dense_rejects(product, plans.properties))
    throw Error("DenseCache", fmt::format("{}: {}", product.to_string(), *reason));
  const DeviceGuard guard(runtime_, device);
  auto made = std::make_shared<const DensePlan>(plans.handle, product, rows,
                                                options_.workspace_limit, options_.algorithms);
  plans.recent.insert(key, made, max_plans_);
  return made;
}

void DenseCache::reserve(size_t plans) {
  const std::lock_guard lock(mutex_);
  max_plans_ = std::max(max_plans_, plans);
}

int DenseCache::rank(const ProductDesc& product, int64_t rows) const {
  const int64_t bucket = (rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  // The same product, whatever zeros the weight has and whatever becomes of int8 sums.
  ProductDesc named = product;
  for (const DType output : {product.output, DType::kF16, DType::kBF16}) {
    named.output = output;
    if (output != product.output && dense_part(named) != product) continue;
    for (const bool sparse : {false, true}) {
      const PlanChoice* choice = options_.table.find(named, bucket, sparse);
      if (choice != nullptr && choice->use == PlanUse::kDense) return choice->dense_rank;
    }
  }
  return 0;
}

size_t DenseCache::size(int device) {
  const std::lock_guard lock(mutex_);
  return of(device).recent.size();
}

std::shared_ptr<const DensePlan> prepare_dense(DenseCache& cache, const ProductDesc& product,
                                               int64_t m, int device, DenseScratch& scratch) {
  const DeviceGuard guard(cache.runtime(), device);
  auto plan = cache.plan(product, m, device);
  const size_t bytes = plan->algorithm(cache.rank(product, m)).workspace_bytes;
  if (scratch.workspace.size() < bytes) {
    scratch.workspace.reset();  // waits for the kernels that still use it
    scratch.workspace = DeviceBuffer(cache.runtime(), bytes, "matmul_dense workspace");
  }
  return plan;
}

void matmul_dense(DenseCache& cache, const ProductDesc& product, const DenseArgs& args, int device,
                  StreamHandle stream, DenseScratch& scratch) {
  const DeviceGuard guard(cache.runtime(), device);
  const auto plan = prepare_dense(cache, product, args.m, device, scratch);
  const int rank = cache.rank(product, args.m);
  plan->run(rank, args.alpha, args.weight, args.x, args.y,
            plan->algorithm(rank).workspace_bytes > 0 ? scratch.workspace.data() : nullptr, stream);
}

}  // namespace twofour::cuda
