#include "twofour/train/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "twofour/base/error.h"

namespace twofour {
namespace {

int64_t warmup_steps(const LearningRate& rate, int64_t steps) {
  return static_cast<int64_t>(std::ceil(rate.warmup * static_cast<double>(steps)));
}

bool any_loss(const Recipe& recipe, bool (*accept)(LossKind)) {
  return std::ranges::any_of(recipe.stages, [&](const Stage& stage) {
    return std::ranges::any_of(stage.losses,
                               [&](const LossTerm& term) { return accept(term.kind); });
  });
}

// Whole steps in proportion to `shares`, at least one each; the sum is `total` where that allows
// it. Largest remainders win, ties go to the earlier stage.
std::vector<int64_t> apportion(const std::vector<int64_t>& shares, int64_t total) {
  const int64_t sum = std::reduce(shares.begin(), shares.end());
  std::vector<int64_t> result(shares.size());
  std::vector<size_t> order(shares.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = 0; i < shares.size(); ++i) {
    result[i] = std::max<int64_t>(1, shares[i] * total / sum);
  }
  std::ranges::stable_sort(order, std::greater{},
                           [&](size_t i) { return shares[i] * total % sum; });
  int64_t left = total - std::reduce(result.begin(), result.end());
  for (size_t i = 0; i < order.size() && left > 0; ++i, --left) ++result[order[i]];
  // Stages that were raised to one step take it from the longest.
  while (left < 0) {
    const auto longest = std::ranges::max_element(result);
    if (*longest == 1) break;
    --*longest;
    ++left;
  }
  return result;
}

}  // namespace

std::string_view loss_name(LossKind kind) {
  switch (kind) {
    case LossKind::kCrossEntropy:
      return "cross_entropy";
    case LossKind::kMse:
      return "mse";
    case LossKind::kRankNet:
      return "ranknet";
    case LossKind::kContrastive:
      return "contrastive";
    case LossKind::kMaskedTokens:
      return "masked_tokens";
    case LossKind::kLogits:
      return "logits";
    case LossKind::kHiddenStates:
      return "hidden_states";
    case LossKind::kMiniLmV1:
      return "minilm_v1";
    case LossKind::kMiniLmV2:
      return "minilm_v2";
  }
  return "";
}

double learning_rate_at(const LearningRate& rate, int64_t step, int64_t steps) {
  const int64_t warmup = warmup_steps(rate, steps);
  if (step < warmup) return rate.peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (rate.schedule == "constant") return rate.peak;
  const double progress = static_cast<double>(step - warmup) /
                          static_cast<double>(std::max<int64_t>(1, steps - warmup));
  if (rate.schedule == "cosine") {
    return rate.peak * 0.5 * (1 + std::cos(std::numbers::pi * progress));
  }
  return rate.peak * (1 - progress);
}

bool is_distillation(LossKind kind) {
  return kind == LossKind::kLogits || kind == LossKind::kHiddenStates ||
         kind == LossKind::kMiniLmV1 || kind == LossKind::kMiniLmV2;
}

bool wants_classes(const Recipe& recipe) {
  return uses_loss(recipe, LossKind::kCrossEntropy) || uses_loss(recipe, LossKind::kLogits);
}

bool uses_loss(const Recipe& recipe, LossKind kind) {
  return std::ranges::any_of(recipe.stages, [&](const Stage& stage) {
    return std::ranges::any_of(stage.losses,
                               [&](const LossTerm& term) { return term.kind == kind; });
  });
}

bool needs_teacher(const Recipe& recipe) { return any_loss(recipe, is_distillation); }

int64_t total_steps(const Recipe& recipe) {
  return std::transform_reduce(recipe.stages.begin(), recipe.stages.end(), int64_t{0}, std::plus{},
                               [](const Stage& stage) { return stage.steps; });
}

void limit_steps(Recipe& recipe, int64_t max_steps, int64_t steps_per_epoch) {
  std::vector<Stage*> trained;
  double sum = 0;
  for (Stage& stage : recipe.stages) {
    const double steps = stage.epochs > 0
                             ? std::ceil(stage.epochs * static_cast<double>(steps_per_epoch))
                             : static_cast<double>(stage.steps);
    sum += steps;
    if (sum > static_cast<double>(kMostSteps)) {
      throw Error(fmt::format("recipe {}", recipe.name),
                  fmt::format("stage '{}' brings the run to {:.3g} steps, above {}", stage.name,
                              sum, kMostSteps),
                  "Lower the steps or epochs of its stages.");
    }
    if (stage.epochs > 0) stage.steps = std::max<int64_t>(1, static_cast<int64_t>(steps));
    stage.epochs = 0;
    if (stage.steps > 0) trained.push_back(&stage);
  }
  if (max_steps <= 0 || total_steps(recipe) <= max_steps) return;
  std::vector<int64_t> shares;
  for (const Stage* stage : trained) shares.push_back(stage->steps);
  const std::vector<int64_t> steps = apportion(shares, max_steps);
  for (size_t i = 0; i < trained.size(); ++i) trained[i]->steps = steps[i];
}

}  // namespace twofour
