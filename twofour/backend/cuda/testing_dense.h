// A stand-in for cuBLASLt, for tests without a GPU: products are computed plainly on the host's
// memory, and everything is recorded. It knows of the real library only what its header says.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/backend/cuda/testing.h"

namespace twofour::cuda {

class FakeCublasLt final : public CublasLt {
 public:
  struct Run {
    int64_t rows = 0;
    uint64_t algorithm = 0;  // its place in the list that algorithms() gave
    void* workspace = nullptr;
    StreamHandle stream = nullptr;
    const void* weight = nullptr;
  };

  explicit FakeCublasLt(FakeRuntime& runtime) : runtime_(runtime) {}

  int version_number = 130100;
  int known_algorithms = 3;
  size_t workspace = 0;  // of the algorithm in place 1; the others need none
  Failures<BlasStatus> failures;
  std::vector<Run> runs;
  int searches = 0;  // calls of algorithms()
  std::string violations;

  size_t alive() const { return handles_.size() + layouts_.size() + matmuls_.size(); }

  int version() const override { return version_number; }
  std::string origin() const override { return "stand-in"; }
  std::string status_text(BlasStatus status) const override {
    return "status " + std::to_string(static_cast<int>(status));
  }

  BlasStatus create(BlasHandle& handle) override {
    const std::lock_guard lock(mutex_);
    const BlasStatus status = failures.take("create");
    if (status == BlasStatus::kSuccess) handles_.insert(handle = next());
    return status;
  }
  BlasStatus destroy(BlasHandle handle) override {
    const std::lock_guard lock(mutex_);
    if (handles_.erase(handle) == 0) violations += "a handle was destroyed twice; ";
    return BlasStatus::kSuccess;
  }

  BlasStatus create_layout(BlasLayout& made, const MatrixLayout& layout) override {
    const std::lock_guard lock(mutex_);
    const BlasStatus status = failures.take("create_layout");
    if (status == BlasStatus::kSuccess) layouts_[made = next()] = layout;
    if (layout.order != Order::kColumn) violations += "a layout in row order; ";
    return status;
  }
  BlasStatus destroy_layout(BlasLayout layout) override {
    const std::lock_guard lock(mutex_);
    if (layouts_.erase(layout) == 0) violations += "a layout was destroyed twice; ";
    return BlasStatus::kSuccess;
  }

  BlasStatus create_matmul(BlasMatmul& made, DType sum, DType scale) override {
    const std::lock_guard lock(mutex_);
    const BlasStatus status = failures.take("create_matmul");
    if (status == BlasStatus::kSuccess) matmuls_[made = next()] = {sum, scale, {}, nullptr};
    return status;
  }
  BlasStatus destroy_matmul(BlasMatmul matmul) override {
    const std::lock_guard lock(mutex_);
    if (matmuls_.erase(matmul) == 0) violations += "a product was destroyed twice; ";
    return BlasStatus::kSuccess;
  }
  BlasStatus set_epilogue(BlasMatmul matmul, std::optional<ActivationKind> activation,
                          const void* bias) override {
    const std::lock_guard lock(mutex_);
    matmuls_.at(matmul).activation = activation;
    matmuls_.at(matmul).bias = bias;
    return failures.take("set_epilogue");
  }

  BlasStatus algorithms(BlasHandle handle, BlasMatmul, const BlasLayouts&, size_t workspace_limit,
                        int wanted, std::vector<DenseAlgorithm>& found) override {
    runtime_.not_in_capture("cublasLtMatmulAlgoGetHeuristic");
    const std::lock_guard lock(mutex_);
    if (!handles_.contains(handle)) violations += "a handle that does not live was used; ";
    ++searches;
    found.clear();
    for (int i = 0; i < std::min(wanted, known_algorithms); ++i) {
      const size_t bytes = i == 1 ? workspace : 0;
      if (bytes <= workspace_limit) found.push_back({{static_cast<uint64_t>(i)}, bytes});
    }
    return failures.take("algorithms");
  }

  BlasStatus matmul(BlasHandle handle, BlasMatmul matmul, const BlasLayouts& layouts,
                    const DenseAlgorithm& algorithm, const MatmulPointers& pointers,
                    StreamHandle stream) override {
    const std::lock_guard lock(mutex_);
    if (!handles_.contains(handle)) violations += "a handle that does not live was used; ";
    const MatrixLayout d = layouts_.at(layouts.d);
    runs.push_back({d.cols, algorithm.data[0], pointers.workspace, stream, pointers.a});
    const BlasStatus status = failures.take("matmul");
    if (status != BlasStatus::kSuccess) return status;
    // Numbers on the host are read now, as the library does.
    const float alpha = matmuls_.at(matmul).scale == DType::kF32
                            ? *static_cast<const float*>(pointers.alpha)
                            : 1.0f;
    const Matmul made = matmuls_.at(matmul);
    const MatrixLayout a = layouts_.at(layouts.a);
    runtime_.enqueue("matmul", stream, [=] { multiply(made, a, d, pointers, alpha); });
    return status;
  }

 private:
  struct Matmul {
    DType sum = DType::kF32, scale = DType::kF32;
    std::optional<ActivationKind> activation;
    const void* bias = nullptr;
  };

  static void multiply(const Matmul& matmul, const MatrixLayout& a, const MatrixLayout& d,
                       const MatmulPointers& p, float alpha) {
    std::vector<float> bias;
    for (int64_t i = 0; matmul.bias != nullptr && i < d.rows; ++i)
      bias.push_back(static_cast<float>(element(d.type, matmul.bias, i)));
    ReferenceProduct product;
    product.m = d.cols;
    product.n = d.rows;
    product.k = a.rows;
    product.input = a.type;
    product.output = d.type;
    product.x = p.b;
    product.weight = p.a;
    product.alpha = alpha;
    product.bias = bias.empty() ? nullptr : bias.data();
    product.activation = matmul.activation;
    product.y = p.d;
    reference_product(product);
  }

  void* next() { return reinterpret_cast<void*>(static_cast<uintptr_t>(++last_)); }

  FakeRuntime& runtime_;
  std::mutex mutex_;
  int last_ = 0;
  std::set<void*> handles_;
  std::map<void*, MatrixLayout> layouts_;
  std::map<void*, Matmul> matmuls_;
};

}  // namespace twofour::cuda
