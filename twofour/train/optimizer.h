// The optimizer over a parameter map: AdamW or SGD, clipping by global norm, moments that a
// checkpoint can hold.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "twofour/train/recipe.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // of AdamW
  double momentum = 0.9;                              // of SGD
  double weight_decay =
      0.01;              // not on biases and LayerNorm, which are the parameters of one dimension
  double clip_norm = 0;  // 0: no clipping
};

// AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101, with decoupled decay. SGD as PyTorch has it,
// m = momentum m + (g + weight_decay w), w -= rate m: the decay is part of the gradient. The
// arithmetic is that of LibTorch's fused kernels.
class Optimizer {
 public:
  // Shares the tensors of `parameters`: steps change them in place.
  Optimizer(const ParameterMap& parameters, const OptimizerOptions& options);

  // Clips the gradients to clip_norm and makes a step. Parameters without a gradient are left
  // alone: neither decayed nor stepped. Returns the norm before clipping; throws Error, with
  // nothing changed, if it is not finite.
  double step(double learning_rate);

  void zero_gradients();

  // The moments become zero where `newly_pruned` (weight -> bool of its shape, from
  // SparsityContext::advance) is true; everything else is kept, so that the other weights' steps do
  // not start over.
  void zero_moments(const std::map<std::string, at::Tensor>& newly_pruned);

  // "exp_avg.<name>", "exp_avg_sq.<name>" f32 of the parameter's shape, "step.<name>" f32 scalar;
  // of SGD "exp_avg.<name>" alone, its momentum. The tensors are the optimizer's own. load_state
  // copies and throws Error if a tensor is missing, left over or of another shape.
  std::map<std::string, at::Tensor> state() const;
  void load_state(const std::map<std::string, at::Tensor>& state);

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter, exp_avg, exp_avg_sq, step;  // SGD: the last two are undefined
  };
  std::vector<at::Tensor> gradients() const;
  void update(bool decayed, double learning_rate,
              const std::optional<at::Tensor>& gradient_divisor);

  OptimizerOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace twofour
