// Keeps the masks of a model: computes them, applies them, checks them.
#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/sparse/mask.h"
#include "twofour/train/recipe.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// An object, not a process-wide singleton: a process may hold several.
class SparsityContext {
 public:
  // Prunable layers: prunable ops of the network whose k % 4 == 0, less those matched by recipe.keep_dense.
  // Throws Error when a glob of keep_dense matches nothing.
  SparsityContext(const Network& network, const Recipe& recipe);

  const std::vector<std::string>& weights() const;  // parameter names

  // New masks for a stage from the current weights; nested in the old ones unless stage.regrowth (asserted).
  // Returns for each weight what became pruned now (bool, same shape), for the optimizer's moments.
  std::map<std::string, at::Tensor> advance(const Stage& stage, const ParameterMap& parameters);

  void apply(const ParameterMap& parameters) const;           // w *= mask, in place, no grad
  void mask_gradients(const ParameterMap& parameters) const;  // grad *= mask, before the clip norm
  void check(const ParameterMap& parameters) const;           // throws Error naming the first weight outside its mask

  double sparsity() const;  // over the prunable weights
  bool active() const;

  std::map<std::string, at::Tensor> state() const;  // for checkpoints
  void load_state(const std::map<std::string, at::Tensor>& state);

 private:
  struct Layer {
    std::string weight;
    at::Tensor mask;  // uint8/bool [n, k]; undefined: dense
    RowSets row_sets;
  };
  std::vector<Layer> layers_;
  std::vector<std::string> names_;
  SaliencyFunction saliency_;
};

}  // namespace twofour
