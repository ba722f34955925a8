#include "twofour/cli/model_products.h"

#include <utility>

#include "twofour/graph/network.h"
#include "twofour/runtime/fused_steps.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::cli {
namespace {

class Collector {
 public:
  Collector(const ModelDirectory& model, DType float_type, bool as_if_sparse)
      : network_(build_network(model.config())),
        fused_(fuse(network_, model)),
        model_(model),
        float_type_(float_type),
        results_(float_type == DType::kF8E4M3 ? DType::kF16 : float_type),
        as_if_sparse_(as_if_sparse) {}

  std::vector<ModelProduct> run() {
    for (const FusedStep& step : fused_.steps) {
      if (step.op->kind == OpKind::kLinear && step.op->prunable) add(step);
    }
    return std::move(products_);
  }

 private:
  void add(const FusedStep& step) {
    ModelProduct found;
    found.count = 1;
    for (const Op* part : step.parts) found.product.n += weight(*part).shape[0];
    found.product.k = weight(*step.parts[0]).shape[1];
    found.sparse = as_if_sparse_ || is_sparse(*step.parts[0]);
    found.product.input = step.int8 ? DType::kI8 : float_type_;
    found.product.output = step.int8 && leaves_sums(step, found.sparse) ? DType::kI32 : results_;
    for (ModelProduct& known : products_) {
      if (known.product != found.product || known.sparse != found.sparse) continue;
      ++known.count;
      return;
    }
    products_.push_back(found);
  }

  // As DeviceLinearSpec::scale_in_product.
  bool leaves_sums(const FusedStep& step, bool sparse) const {
    return !sparse || step.activation || fused_.scales[step.output] != 0;
  }

  TensorView weight(const Op& op) const { return model_.tensor(network_.parameter(op, 0).name); }

  bool is_sparse(const Op& op) const {
    const TensorView matrix = weight(op);
    return matrix.shape[1] % 4 == 0 && !find_violation(matrix);
  }

  Network network_;
  FusedNetwork fused_;  // of network_
  const ModelDirectory& model_;
  DType float_type_, results_;
  bool as_if_sparse_;
  std::vector<ModelProduct> products_;
};

}  // namespace

std::vector<ModelProduct> model_products(const ModelDirectory& model, DType float_type,
                                         bool as_if_sparse) {
  return Collector(model, float_type, as_if_sparse).run();
}

}  // namespace twofour::cli
