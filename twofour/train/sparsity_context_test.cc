#include "twofour/train/sparsity_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "twofour/base/testing.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/train/optimizer.h"
#include "twofour/train/torch_tensors.h"

namespace twofour {
namespace {

using ::testing::HasSubstr;

const std::string kQuery = "encoder.layer.0.attention.self.query.weight";

const ModelDirectory& model() {
  static const ModelDirectory directory =
      ModelDirectory::open(TWOFOUR_SOURCE_DIR "/tests/golden/cross-encoder/model");
  return directory;
}

const Network& network() {
  static const Network result = build_network(model().config());
  return result;
}

Stage stage(double sparsity, int share_rows = 1, bool regrowth = false) {
  Stage result;
  result.sparsity = sparsity;
  result.share_rows = share_rows;
  result.regrowth = regrowth;
  return result;
}

Recipe recipe_of(std::vector<Stage> stages) {
  Recipe recipe;
  recipe.stages = std::move(stages);
  return recipe;
}

ParameterMap load() { return load_parameters(network(), model(), 1); }

void set_gradients(const ParameterMap& parameters) {
  for (const auto& [name, parameter] : parameters)
    parameter.mutable_grad() = at::randn(parameter.sizes());
}

void optimizer_step(SparsityContext& context, const ParameterMap& parameters,
                    Optimizer& optimizer) {
  set_gradients(parameters);
  context.mask_gradients(parameters);
  optimizer.step(0.01);
  context.apply(parameters);
  context.check(parameters);
}

double zeros(const at::Tensor& tensor) {
  return tensor.eq(0).to(at::kDouble).mean().item<double>();
}

TEST(SparsityContext, PrunesEncoderLinearsOnly) {
  const SparsityContext context(network(), {});
  EXPECT_EQ(context.weights().size(), 12u);
  for (const std::string& name : context.weights())
    EXPECT_TRUE(name.starts_with("encoder.layer.")) << name;
  EXPECT_FALSE(context.active());
  EXPECT_EQ(context.sparsity(), 0);
}

TEST(SparsityContext, KeepsDenseWhatTheRecipeNames) {
  Recipe recipe;
  recipe.keep_dense = {"encoder.layer.0.*", "*.attention.self.query"};
  const SparsityContext context(network(), recipe);
  EXPECT_EQ(context.weights().size(), 5u);
  recipe.keep_dense = {"encoder.layer.7.*"};
  EXPECT_THAT(error_of([&] { SparsityContext(network(), recipe); }),
              HasSubstr("\"encoder.layer.7.*\" matches no linear layer"));
}

TEST(SparsityContext, MasksNestAndHoldUnderOptimizerSteps) {
  const std::vector<Stage> stages = {stage(0.25), stage(0.5), stage(0.5)};
  const ParameterMap parameters = load();
  SparsityContext context(network(), recipe_of(stages));
  Optimizer optimizer(parameters, {});
  at::Tensor pruned = at::zeros_like(parameters.at(kQuery)).to(at::kBool);
  for (const Stage& next : stages) {
    const auto newly_pruned = context.advance(next, parameters);
    optimizer.zero_moments(newly_pruned);
    for (int i = 0; i < 3; ++i) optimizer_step(context, parameters, optimizer);
    EXPECT_DOUBLE_EQ(context.sparsity(), next.sparsity);
    EXPECT_DOUBLE_EQ(zeros(parameters.at(kQuery)), next.sparsity);
    EXPECT_EQ(parameters.at(kQuery).masked_select(pruned).abs().sum().item<float>(), 0);
    if (newly_pruned.contains(kQuery)) {
      EXPECT_FALSE(newly_pruned.at(kQuery).logical_and(pruned).any().item<bool>());
      EXPECT_EQ(optimizer.state()
                    .at("exp_avg." + kQuery)
                    .masked_select(newly_pruned.at(kQuery))
                    .abs()
                    .sum()
                    .item<float>(),
                0);
    }
    pruned = parameters.at(kQuery).eq(0);
  }
  EXPECT_TRUE(context.advance(stage(0.5), parameters).empty());
  for (const std::string& name : context.weights()) {
    EXPECT_FALSE(find_violation(view_of(parameters.at(name).detach())).has_value()) << name;
  }
}

// As a model that was pruned before comes to a recipe that says nothing of sparsity.
TEST(SparsityContext, AdoptedMasksHold) {
  const ParameterMap parameters = load();
  SparsityContext before(network(), {});
  before.advance(stage(0.5, 2), parameters);
  const at::NoGradGuard no_grad;
  parameters.at(kQuery).detach()[0][0] = 0.0;
  SparsityContext context(network(), {});
  context.adopt(parameters);
  EXPECT_EQ(context.sparse_weights(), context.weights());
  EXPECT_EQ(context.share_rows(), 2);
  EXPECT_GE(context.sparsity(), 0.5);
  Optimizer optimizer(parameters, {});
  const at::Tensor zero = parameters.at(kQuery).eq(0);
  for (const Stage& next : {stage(0), stage(0.25, 2), stage(0.5, 2)}) {
    context.advance(next, parameters);
    optimizer_step(context, parameters, optimizer);
    EXPECT_TRUE(at::equal(parameters.at(kQuery).eq(0), zero));
  }
  SparsityContext resumed(network(), {});
  resumed.load_state(context.state());
  EXPECT_EQ(resumed.sparse_weights(), context.weights());
}

TEST(SparsityContext, AdoptsWhatIsSparseAndPrunesTheRest) {
  const ParameterMap parameters = load();
  Recipe recipe;
  recipe.keep_dense = {"encoder.layer.0.*"};
  SparsityContext half(network(), recipe), context(network(), {});
  context.adopt(parameters);
  EXPECT_FALSE(context.active());
  half.advance(stage(0.5), parameters);
  context.adopt(parameters);
  EXPECT_EQ(context.sparse_weights(), half.weights());
  context.advance(stage(0.5), parameters);
  EXPECT_EQ(context.sparse_weights(), context.weights());
  EXPECT_DOUBLE_EQ(context.sparsity(), 0.5);
}

TEST(SparsityContext, MasksGradientsBeforeTheNorm) {
  const ParameterMap parameters = load();
  SparsityContext context(network(), {});
  context.advance(stage(0.5), parameters);
  set_gradients(parameters);
  const at::Tensor gradient = parameters.at(kQuery).grad().clone();
  const at::Tensor pooler = parameters.at("pooler.dense.weight").grad().clone();
  context.mask_gradients(parameters);
  EXPECT_TRUE(at::equal(parameters.at(kQuery).grad(), gradient * parameters.at(kQuery).ne(0)));
  EXPECT_TRUE(at::equal(parameters.at("pooler.dense.weight").grad(), pooler));
}

TEST(SparsityContext, CheckNamesTheWeightOutsideItsMask) {
  const ParameterMap parameters = load();
  SparsityContext context(network(), {});
  context.advance(stage(0.5), parameters);
  const at::Tensor position = parameters.at(kQuery).detach().eq(0).nonzero()[5];
  const int64_t row = position[0].item<int64_t>(), col = position[1].item<int64_t>();
  parameters.at(kQuery).detach()[row][col] = 0.25;
  const std::string expected = "[" + kQuery + "] the weight at [" + std::to_string(row) + ", " +
                               std::to_string(col) + "] is 0.25";
  EXPECT_THAT(error_of([&] { context.check(parameters); }), HasSubstr(expected));
  context.apply(parameters);
  EXPECT_EQ(error_of([&] { context.check(parameters); }), "no error");
}

TEST(SparsityContext, SharedRowsKeepTheirPartition) {
  std::vector<Stage> stages = {stage(0.25, 2), stage(0.5, 2)};
  for (Stage& next : stages) next.pairing = RowPairing::kLeastEnergy;
  const ParameterMap parameters = load();
  SparsityContext context(network(), recipe_of(stages));
  context.advance(stages[0], parameters);
  const at::Tensor weight = parameters.at(kQuery).detach();
  weight.copy_(at::randn_like(weight));  // pairing anew would find other pairs
  context.apply(parameters);
  const at::Tensor sets = context.state().at("row_sets." + kQuery).clone();
  EXPECT_EQ(sets.sizes(), at::IntArrayRef({16, 2}));
  context.advance(stages[1], parameters);
  EXPECT_TRUE(at::equal(context.state().at("row_sets." + kQuery), sets));
  const at::Tensor mask = context.state().at("mask." + kQuery);
  for (int64_t i = 0; i < sets.size(0); ++i) {
    EXPECT_TRUE(at::equal(mask[sets[i][0].item<int64_t>()], mask[sets[i][1].item<int64_t>()]));
  }
}

TEST(SparsityContext, MoreSharedRowsArePartitionedAnewInsideTheOldMask) {
  const ParameterMap parameters = load();
  SparsityContext context(network(), {});
  context.advance(stage(0.25, 1), parameters);
  const at::Tensor before = context.state().at("mask." + kQuery).clone();
  context.advance(stage(0.5, 4), parameters);
  EXPECT_EQ(context.state().at("row_sets." + kQuery).sizes(), at::IntArrayRef({8, 4}));
  EXPECT_FALSE(
      context.state().at("mask." + kQuery).logical_and(before.logical_not()).any().item<bool>());
  EXPECT_GE(context.sparsity(), 0.5);
}

// A pruned weight whose gradient pulls it far away comes back with what the optimizer gave it, a
// weight that shrank goes.
TEST(SparsityContext, RegrowthTakesMasksFromAllWeights) {
  const std::vector<Stage> stages = {stage(0.5), stage(0.5, 1, true)};
  const ParameterMap parameters = load();
  SparsityContext context(network(), recipe_of(stages));
  context.advance(stages[0], parameters);
  const at::Tensor weight = parameters.at(kQuery).detach();
  const int64_t pruned = weight[0].narrow(0, 0, 4).eq(0).nonzero()[0].item<int64_t>();

  set_gradients(parameters);
  const at::Tensor gradient = parameters.at(kQuery).grad().clone();
  context.mask_gradients(parameters);
  EXPECT_TRUE(
      at::equal(parameters.at(kQuery).grad(), gradient));  // dense while regrowth is to come

  for (int i = 0; i < 3; ++i) {
    weight[0][pruned] = 2;  // what an optimizer's step does to it
    context.apply(parameters);
    EXPECT_EQ(weight[0][pruned].item<float>(), 0);
  }
  const at::Tensor original = load().at(kQuery).detach();
  const auto newly_pruned = context.advance(stages[1], parameters);
  EXPECT_NEAR(weight[0][pruned].item<float>(), original[0][pruned].item<float>() + 6, 1e-5);
  EXPECT_EQ(newly_pruned.at(kQuery).sum().item<int64_t>(), 1);
  EXPECT_DOUBLE_EQ(context.sparsity(), 0.5);

  set_gradients(parameters);
  context.mask_gradients(parameters);
  EXPECT_DOUBLE_EQ(zeros(parameters.at(kQuery).grad()), 0.5);
}

TEST(SparsityContext, ResumesFromItsState) {
  const std::vector<Stage> stages = {stage(0.25, 2), stage(0.5, 2, true), stage(0.5, 4)};
  const ParameterMap parameters = load();
  SparsityContext context(network(), recipe_of(stages)), resumed(network(), recipe_of(stages));
  Optimizer optimizer(parameters, {});
  for (const Stage& next : stages) {
    context.advance(next, parameters);
    optimizer_step(context, parameters, optimizer);
    resumed.load_state(context.state());
    for (const auto& [name, tensor] : context.state()) {
      EXPECT_TRUE(at::equal(resumed.state().at(name), tensor)) << name;
    }
    EXPECT_EQ(resumed.state().size(), context.state().size());
    EXPECT_GT(context.sparsity(), 0);
    EXPECT_EQ(resumed.sparsity(), context.sparsity());
  }
  EXPECT_FALSE(context.state().contains("removed." + kQuery));
}

TEST(SparsityContext, RefusesStateThatDoesNotFit) {
  const ParameterMap parameters = load();
  SparsityContext context(network(), {}), other(network(), {});
  context.advance(stage(0.5), parameters);
  const std::map<std::string, at::Tensor> good = context.state();
  std::map<std::string, at::Tensor> bad = good;
  bad["mask." + kQuery] = at::ones({32, 16}, at::kBool);
  EXPECT_THAT(error_of([&] { other.load_state(bad); }),
              HasSubstr("[32, 16], expected Bool [32, 32]"));
  bad = good;
  bad["mask.pooler.dense.weight"] = at::ones({32, 32}, at::kBool);
  EXPECT_THAT(error_of([&] { other.load_state(bad); }), HasSubstr("of no prunable layer"));
  bad = good;
  bad.erase("schedule");
  EXPECT_THAT(error_of([&] { other.load_state(bad); }), HasSubstr("lacks schedule"));
  bad = good;
  bad.erase("row_sets." + kQuery);
  EXPECT_THAT(error_of([&] { other.load_state(bad); }), HasSubstr("row_sets." + kQuery));
  EXPECT_FALSE(other.active());
}

}  // namespace
}  // namespace twofour
