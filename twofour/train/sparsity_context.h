// Keeps the masks of a model: computes them, applies them, checks them.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/sparse/mask.h"
#include "twofour/train/recipe.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// An object, not a process-wide singleton: a process may hold several.
//
// One optimizer step: backward, mask_gradients, Optimizer::step (clips), apply. At the start of
// each stage: advance, then Optimizer::zero_moments with its result. After load_state: check. While
// no weight is masked, mask_gradients, apply and check do nothing.
//
// Regrowth. While a stage with `regrowth` is still to come, gradients stay dense and what the
// optimizer does to a pruned weight is collected beside it (its value when it was pruned plus all
// its updates: the straight-through estimator). That stage then takes its masks from these full
// weights, and weights that come back have their collected values.
class SparsityContext {
 public:
  // Prunable layers: prunable ops of the network whose k % 4 == 0, less those matched by
  // recipe.keep_dense. Throws Error when a glob of keep_dense matches nothing. Parameters are on
  // `device`, and masks too; new masks are computed from copies in host memory, so that they do not
  // depend on it.
  SparsityContext(const Network& network, const Recipe& recipe, at::Device device = at::kCPU);

  const std::vector<std::string>& weights() const { return names_; }  // parameter names

  // dense_layer_warning() for each layer that the recipe would prune but whose shape forbids it.
  const std::vector<std::string>& left_dense() const { return left_dense_; }

  // Takes over the pattern of weights that come 2:4 (or sparser) already: they stay so in stages
  // that ask for less. Once, before the first stage.
  void adopt(const ParameterMap& parameters);

  // New masks for a stage from the current weights, applied; nested in the old ones unless
  // stage.regrowth (asserted). A stage that asks for what already holds changes nothing. A
  // partition into rows that share is kept while share_rows stays the same. Returns for each weight
  // what became pruned now (bool, same shape), for the optimizer's moments.
  std::map<std::string, at::Tensor> advance(const Stage& stage, const ParameterMap& parameters);

  void apply(const ParameterMap& parameters);  // zero outside the mask, in place, no grad
  void mask_gradients(
      const ParameterMap& parameters) const;  // the same for gradients, before the clip norm
  void check(const ParameterMap& parameters)
      const;  // throws Error naming the first weight outside its mask

  double sparsity() const { return zeros_; }  // share of masked values over the prunable weights
  int share_rows() const { return schedule_.share_rows; }
  std::vector<std::string> sparse_weights() const;  // those whose masks are 2:4
  bool active() const;

  // "mask.<weight>" bool [n, k], "row_sets.<weight>" int32 [n / share_rows, share_rows],
  // "removed.<weight>" f32 [n, k] while regrowth is to come, and "schedule" f64 [3]. Tensors are
  // the context's own, row_sets and schedule in host memory. load_state copies, and throws Error,
  // with nothing changed, for anything that does not fit.
  std::map<std::string, at::Tensor> state() const;
  void load_state(const std::map<std::string, at::Tensor>& state);

 private:
  struct Layer {
    std::string weight;
    int64_t rows = 0, cols = 0;
    at::Tensor mask;  // bool [rows, cols], true = kept; undefined: dense
    RowSets row_sets;
    at::Tensor removed;  // f32 [rows, cols]: what pruned weights would be; defined while regrowth
                         // is to come
  };
  // Where the recipe's schedule stands.
  struct Schedule {
    int64_t regrowth_left = 0;
    double sparsity = 0;
    int share_rows = 1;
  };
  at::Tensor advance_layer(Layer& layer, const Stage& stage, const at::Tensor& weight) const;
  MaskResult new_mask(const Layer& layer, const Stage& stage, const at::Tensor& weight) const;
  double count_zeros() const;

  at::Device device_;
  std::vector<Layer> layers_;
  std::vector<std::string> names_;
  std::vector<std::string> left_dense_;
  SaliencyFunction saliency_;
  Schedule schedule_;
  double zeros_ = 0;  // of count_zeros, which is too slow for each step
};

}  // namespace twofour
