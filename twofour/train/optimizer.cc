#include "twofour/train/optimizer.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "twofour/base/error.h"

namespace twofour {
namespace {

void copy_state(const std::map<std::string, at::Tensor>& state, const std::string& key,
                at::Tensor& target) {
  const auto found = state.find(key);
  if (found == state.end())
    throw Error("optimizer", fmt::format("{} is missing from the optimizer's state", key));
  if (found->second.sizes() != target.sizes()) {
    throw Error("optimizer",
                fmt::format("{} is of another size: {}, expected {}", key, found->second.numel(),
                            target.numel()),
                "Resume with the model that the checkpoint was made from");
  }
  target.copy_(found->second);
}

}  // namespace

Optimizer::Optimizer(const ParameterMap& parameters, const OptimizerOptions& options)
    : options_(options) {
  for (const auto& [name, parameter] : parameters) {
    Slot slot{name, parameter, at::zeros_like(parameter.detach()), {}, {}};
    if (options.kind == OptimizerKind::kAdamW) {
      slot.exp_avg_sq = slot.exp_avg.clone();
      slot.step = at::zeros({}, slot.exp_avg.options());
    }
    slots_.push_back(std::move(slot));
  }
}

std::vector<at::Tensor> Optimizer::gradients() const {
  std::vector<at::Tensor> result;
  for (const Slot& slot : slots_) {
    if (slot.parameter.grad().defined()) result.push_back(slot.parameter.grad());
  }
  return result;
}

double Optimizer::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> all = gradients();
  if (all.empty()) return 0;
  const double norm = at::stack(at::_foreach_norm(all)).to(at::kDouble).norm().item<double>();
  if (!std::isfinite(norm)) {
    throw Error("optimizer", fmt::format("the norm of the gradients is {}", norm),
                "Lower the learning rate");
  }
  // The fused kernel divides gradients by this as it reads them: clipping needs no pass of its own.
  std::optional<at::Tensor> divisor;
  if (options_.clip_norm > 0 && norm > options_.clip_norm)
    divisor = at::full({}, norm / options_.clip_norm, all.front().options());
  update(true, learning_rate, divisor);
  update(false, learning_rate, divisor);
  return norm;
}

void Optimizer::update(bool decayed, double learning_rate,
                       const std::optional<at::Tensor>& gradient_divisor) {
  std::vector<at::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;
  for (Slot& slot : slots_) {
    if (!slot.parameter.grad().defined() || (slot.parameter.dim() > 1) != decayed) continue;
    parameters.push_back(slot.parameter);
    gradients.push_back(slot.parameter.grad());
    exp_avgs.push_back(slot.exp_avg);
    if (!slot.step.defined()) continue;
    exp_avg_sqs.push_back(slot.exp_avg_sq);
    steps.push_back(slot.step.add_(1));
  }
  if (parameters.empty()) return;
  const double weight_decay = decayed ? options_.weight_decay : 0;
  if (options_.kind == OptimizerKind::kSgd) {
    if (options_.momentum == 0) exp_avgs.clear();  // what the kernel expects then
    // A momentum of zeros makes the first step like any other.
    at::_fused_sgd_(parameters, gradients, exp_avgs, weight_decay, options_.momentum, learning_rate,
                    /*dampening=*/0, /*nesterov=*/false, /*maximize=*/false,
                    /*is_first_step=*/false, gradient_divisor, /*found_inf=*/std::nullopt);
    return;
  }
  at::_fused_adamw_(parameters, gradients, exp_avgs, exp_avg_sqs, {}, steps, learning_rate,
                    options_.beta1, options_.beta2, weight_decay, options_.epsilon,
                    /*amsgrad=*/false,
                    /*maximize=*/false, gradient_divisor, /*found_inf=*/std::nullopt);
}

void Optimizer::zero_gradients() {
  for (Slot& slot : slots_) slot.parameter.mutable_grad().reset();
}

void Optimizer::zero_moments(const std::map<std::string, at::Tensor>& newly_pruned) {
  for (Slot& slot : slots_) {
    const auto found = newly_pruned.find(slot.name);
    if (found == newly_pruned.end()) continue;
    slot.exp_avg.masked_fill_(found->second, 0);
    if (slot.exp_avg_sq.defined()) slot.exp_avg_sq.masked_fill_(found->second, 0);
  }
}

std::map<std::string, at::Tensor> Optimizer::state() const {
  std::map<std::string, at::Tensor> result;
  for (const Slot& slot : slots_) {
    result["exp_avg." + slot.name] = slot.exp_avg;
    if (!slot.step.defined()) continue;
    result["exp_avg_sq." + slot.name] = slot.exp_avg_sq;
    result["step." + slot.name] = slot.step;
  }
  return result;
}

void Optimizer::load_state(const std::map<std::string, at::Tensor>& state) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> own = this->state();
  for (auto& [key, target] : own) copy_state(state, key, target);
  if (state.size() != own.size()) {
    throw Error(
        "optimizer",
        fmt::format("the optimizer's state has {} tensors, expected {}", state.size(), own.size()),
        "Resume with the model that the checkpoint was made from");
  }
}

}  // namespace twofour
