#include "twofour/cli/model_products.h"

#include <algorithm>
#include <set>

#include "twofour/graph/network.h"
#include "twofour/runtime/stacked_linear.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::cli {
namespace {

class Collector {
 public:
  Collector(const ModelDirectory& model, DType float_type, bool as_if_sparse)
      : network_(build_network(model.config())),
        model_(model),
        float_type_(float_type),
        as_if_sparse_(as_if_sparse) {}

  std::vector<ModelProduct> run() {
    for (const Op& op : network_.ops) {
      if (op.kind == OpKind::kAttention) stack_inputs(op);
    }
    for (const Op& op : network_.ops) {
      if (op.kind != OpKind::kLinear || !op.prunable || stacked_.contains(&op)) continue;
      add({&op});
    }
    return std::move(products_);
  }

 private:
  // Query, key and value as one product where an engine may.
  void stack_inputs(const Op& attention) {
    std::vector<const Op*> parts;
    for (const Op& op : network_.ops) {
      const auto& inputs = attention.inputs;
      if (op.kind == OpKind::kLinear && std::ranges::count(inputs, op.output) > 0)
        parts.push_back(&op);
    }
    if (parts.size() != attention.inputs.size() || !can_stack(network_, model_, parts)) return;
    stacked_.insert(parts.begin(), parts.end());
    add(parts);
  }

  void add(const std::vector<const Op*>& parts) {
    const bool integer = is_int8(network_, model_, *parts[0]);
    ModelProduct found;
    found.count = 1;
    for (const Op* part : parts) found.product.n += weight(*part).shape[0];
    found.product.k = weight(*parts[0]).shape[1];
    found.product.input = integer ? DType::kI8 : float_type_;
    found.product.output = integer ? DType::kI32 : float_type_;
    found.sparse = as_if_sparse_ || is_sparse(*parts[0]);
    for (ModelProduct& known : products_) {
      if (known.product != found.product || known.sparse != found.sparse) continue;
      ++known.count;
      return;
    }
    products_.push_back(found);
  }

  TensorView weight(const Op& op) const { return model_.tensor(network_.parameter(op, 0).name); }

  bool is_sparse(const Op& op) const {
    const TensorView matrix = weight(op);
    return matrix.shape[1] % 4 == 0 && !find_violation(matrix);
  }

  Network network_;
  const ModelDirectory& model_;
  DType float_type_;
  bool as_if_sparse_;
  std::set<const Op*> stacked_;
  std::vector<ModelProduct> products_;
};

}  // namespace

std::vector<ModelProduct> model_products(const ModelDirectory& model, DType float_type,
                                         bool as_if_sparse) {
  return Collector(model, float_type, as_if_sparse).run();
}

}  // namespace twofour::cli
