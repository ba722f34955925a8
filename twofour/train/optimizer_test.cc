#include "twofour/train/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/train/golden.h"

namespace twofour {
namespace {

using ::testing::HasSubstr;

ParameterMap random_parameters(uint64_t seed = 8) {
  at::manual_seed(seed);
  ParameterMap parameters;
  parameters["a.weight"] = at::randn({37, 20}).requires_grad_(true);
  parameters["b.weight"] = at::randn({4, 4}).requires_grad_(true);
  parameters["b.bias"] = at::randn({19}).requires_grad_(true);
  return parameters;
}

void set_gradients(const ParameterMap& parameters, double scale = 1) {
  for (const auto& [name, parameter] : parameters)
    parameter.mutable_grad() = at::randn(parameter.sizes()) * scale;
}

double norm_of_gradients(const ParameterMap& parameters) {
  double squares = 0;
  for (const auto& [name, parameter] : parameters) {
    squares += parameter.grad().to(at::kDouble).square().sum().item<double>();
  }
  return std::sqrt(squares);
}

// One parameter in double, element by element.
struct PlainAdamW {
  OptimizerOptions options;
  at::Tensor w, m, v;
  int step = 0;

  PlainAdamW(const OptimizerOptions& options_in, const at::Tensor& parameter)
      : options(options_in),
        w(parameter.detach().to(at::kDouble).clone()),
        m(at::zeros_like(w)),
        v(at::zeros_like(w)) {}

  void update(const at::Tensor& gradient, double rate) {
    ++step;
    const at::Tensor g = gradient.to(at::kDouble);
    if (w.dim() > 1) w.mul_(1 - rate * options.weight_decay);
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const at::Tensor corrected = v / (1 - std::pow(options.beta2, step));
    w -= rate / (1 - std::pow(options.beta1, step)) * m / (corrected.sqrt() + options.epsilon);
  }
};

TEST(AdamW, Golden) {
  const Golden golden("losses.safetensors");
  ParameterMap parameters;
  parameters["w"] = golden.leaf("adamw.initial");
  OptimizerOptions options;
  options.weight_decay = 0.1;
  Optimizer optimizer(parameters, options);
  for (int64_t i = 0; i < 5; ++i) {
    parameters["w"].mutable_grad() = golden("adamw.gradients")[i].clone();
    optimizer.step(0.01);
    EXPECT_TRUE(near(parameters["w"], golden("adamw.after")[i], 1e-6)) << i;
  }
}

TEST(AdamW, EqualsPlainLoopsWithClippingAndWithoutDecayOfVectors) {
  OptimizerOptions options;
  options.weight_decay = 0.3;
  options.clip_norm = 5;
  ParameterMap parameters = random_parameters();
  std::map<std::string, PlainAdamW> expected;
  for (const auto& [name, parameter] : parameters)
    expected.emplace(name, PlainAdamW(options, parameter));
  Optimizer optimizer(parameters, options);
  for (int i = 0; i < 6; ++i) {
    set_gradients(parameters, i % 2 == 0 ? 1 : 0.01);
    const double norm = norm_of_gradients(parameters),
                 factor = std::min(1.0, options.clip_norm / norm);
    for (auto& [name, plain] : expected) plain.update(parameters[name].grad() * factor, 0.02);
    EXPECT_NEAR(optimizer.step(0.02), norm, 1e-4 * norm);
    for (const auto& [name, plain] : expected)
      EXPECT_TRUE(near(parameters[name], plain.w, 2e-6)) << name << i;
  }
}

// Worked out by hand: a matrix of one weight, which decays, and a bias, which does not.
TEST(Sgd, ThreeStepsByHand) {
  ParameterMap parameters;
  parameters["w"] = at::full({1, 1}, 2.0).requires_grad_(true);
  parameters["b"] = at::full({1}, 2.0).requires_grad_(true);
  const OptimizerOptions options{
      .kind = OptimizerKind::kSgd, .momentum = 0.5, .weight_decay = 0.25, .clip_norm = 0};
  Optimizer optimizer(parameters, options);
  const auto step = [&](double gradient) {
    for (const auto& [name, parameter] : parameters) {
      parameter.mutable_grad() = at::full_like(parameter.detach(), gradient);
    }
    EXPECT_NEAR(optimizer.step(0.1), std::abs(gradient) * std::sqrt(2), 1e-6);
  };
  const auto expect = [&](double w, double b, double momentum_of_w) {
    EXPECT_NEAR(parameters["w"].item<float>(), w, 1e-6);
    EXPECT_NEAR(parameters["b"].item<float>(), b, 1e-6);
    EXPECT_NEAR(optimizer.state().at("exp_avg.w").item<float>(), momentum_of_w, 1e-6);
  };
  step(1);
  expect(1.85, 1.9, 1.5);  // momentum 1 + 0.25 * 2
  step(-1);
  expect(1.82875, 1.95, 0.2125);  // 0.5 * 1.5 + (-1 + 0.25 * 1.85)
  step(4);
  expect(1.3724063, 1.575, 4.5634375);  // 0.5 * 0.2125 + (4 + 0.25 * 1.82875)
}

TEST(Sgd, ClipsAndGoesWithoutMomentum) {
  ParameterMap parameters = random_parameters();
  const at::Tensor before = parameters["a.weight"].detach().clone();
  Optimizer optimizer(
      parameters,
      {.kind = OptimizerKind::kSgd, .momentum = 0, .weight_decay = 0, .clip_norm = 0.5});
  set_gradients(parameters);
  const at::Tensor gradient = parameters["a.weight"].grad().clone();
  const double norm = optimizer.step(0.1);
  ASSERT_GT(norm, 0.5);
  EXPECT_TRUE(near(parameters["a.weight"], before - 0.1 * 0.5 / norm * gradient, 1e-6));
}

TEST(AdamW, LeavesParametersWithoutGradientAlone) {
  ParameterMap parameters = random_parameters();
  Optimizer optimizer(parameters, {});
  set_gradients(parameters);
  optimizer.zero_gradients();
  EXPECT_FALSE(parameters["a.weight"].grad().defined());
  EXPECT_EQ(optimizer.step(0.1), 0);

  const at::Tensor before = parameters["a.weight"].detach().clone();
  parameters["b.bias"].mutable_grad() = at::ones({19});
  optimizer.step(0.1);
  EXPECT_TRUE(at::equal(parameters["a.weight"], before));
  EXPECT_EQ(optimizer.state().at("step.a.weight").item<float>(), 0);
  EXPECT_EQ(optimizer.state().at("step.b.bias").item<float>(), 1);
}

TEST(AdamW, RefusesGradientsThatAreNotFinite) {
  ParameterMap parameters = random_parameters();
  Optimizer optimizer(parameters, {});
  set_gradients(parameters);
  parameters["b.weight"].mutable_grad()[1][2] = std::numeric_limits<float>::infinity();
  const at::Tensor before = parameters["a.weight"].detach().clone();
  try {
    optimizer.step(0.1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("norm of the gradients is inf"));
  }
  EXPECT_TRUE(at::equal(parameters["a.weight"], before));
  EXPECT_EQ(optimizer.state().at("step.a.weight").item<float>(), 0);
}

TEST(AdamW, MomentsOfNewlyPrunedWeightsBecomeZeroAndOthersStay) {
  ParameterMap parameters = random_parameters();
  Optimizer optimizer(parameters, {});
  set_gradients(parameters);
  optimizer.step(0.01);
  std::map<std::string, at::Tensor> before;
  for (const auto& [name, tensor] : optimizer.state()) before[name] = tensor.clone();

  const at::Tensor pruned = at::rand({37, 20}).lt(0.5);
  optimizer.zero_moments({{"a.weight", pruned}});
  const at::Tensor kept = pruned.logical_not();
  const std::map<std::string, at::Tensor> after = optimizer.state();
  for (const std::string moment : {"exp_avg.a.weight", "exp_avg_sq.a.weight"}) {
    EXPECT_TRUE(at::equal(after.at(moment), before.at(moment) * kept)) << moment;
    EXPECT_GT(before.at(moment).masked_select(pruned).abs().min().item<float>(), 0) << moment;
  }
  for (const std::string same : {"exp_avg.b.weight", "exp_avg_sq.b.bias", "step.a.weight"}) {
    EXPECT_TRUE(at::equal(after.at(same), before.at(same))) << same;
  }
}

// A step of each with the same gradients, which leaves the same parameters.
void expect_same_step(Optimizer& optimizer, ParameterMap& parameters, Optimizer& resumed,
                      ParameterMap& copies) {
  set_gradients(parameters);
  for (const auto& [name, parameter] : parameters)
    copies[name].mutable_grad() = parameter.grad().clone();
  optimizer.step(0.01);
  resumed.step(0.01);
  for (const auto& [name, parameter] : parameters)
    EXPECT_TRUE(at::equal(copies[name], parameter)) << name;
}

TEST(AdamW, ResumesBitForBit) {
  ParameterMap parameters = random_parameters();
  Optimizer optimizer(parameters, {});
  set_gradients(parameters);
  optimizer.step(0.01);

  ParameterMap copies;
  for (const auto& [name, parameter] : parameters)
    copies[name] = parameter.detach().clone().requires_grad_(true);
  Optimizer resumed(copies, {});
  resumed.load_state(optimizer.state());
  expect_same_step(optimizer, parameters, resumed, copies);
}

std::string load_error(Optimizer& optimizer, const std::map<std::string, at::Tensor>& state) {
  try {
    optimizer.load_state(state);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Sgd, KeepsItsMomentumAloneAndNoneOfPrunedWeights) {
  const OptimizerOptions options{.kind = OptimizerKind::kSgd};
  ParameterMap parameters = random_parameters();
  Optimizer optimizer(parameters, options);
  set_gradients(parameters);
  optimizer.step(0.01);
  const at::Tensor before = optimizer.state().at("exp_avg.a.weight").clone();
  const at::Tensor pruned = at::rand({37, 20}).lt(0.5);
  optimizer.zero_moments({{"a.weight", pruned}});
  EXPECT_TRUE(at::equal(optimizer.state().at("exp_avg.a.weight"), before * pruned.logical_not()));

  ParameterMap copies;
  for (const auto& [name, parameter] : parameters)
    copies[name] = parameter.detach().clone().requires_grad_(true);
  Optimizer resumed(copies, options);
  resumed.load_state(optimizer.state());
  EXPECT_EQ(resumed.state().size(), 3u);
  expect_same_step(optimizer, parameters, resumed, copies);
  Optimizer adamw(random_parameters(), {});
  EXPECT_THAT(load_error(adamw, resumed.state()), HasSubstr("exp_avg_sq.a.weight is missing"));
}

TEST(AdamW, RefusesStateOfAnotherModel) {
  Optimizer optimizer(random_parameters(), {});
  std::map<std::string, at::Tensor> state = optimizer.state();
  state.erase("step.b.bias");
  EXPECT_THAT(load_error(optimizer, state), HasSubstr("step.b.bias is missing"));
  state = optimizer.state();
  state["exp_avg.a.weight"] = at::zeros({2, 2});
  EXPECT_THAT(load_error(optimizer, state),
              HasSubstr("exp_avg.a.weight is of another size: 4, expected 740"));
  state = optimizer.state();
  state["step.c"] = at::zeros({});
  EXPECT_THAT(load_error(optimizer, state), HasSubstr("has 10 tensors, expected 9"));
}

// LibTorch's kernels for GPUs read all of them there.
TEST(Optimizer, StateIsWhereTheParametersAre) {
  const Optimizer optimizer({{"w", at::ones({2, 2}, at::kMeta)}}, {});
  for (const auto& [name, tensor] : optimizer.state()) EXPECT_TRUE(tensor.is_meta()) << name;
}

}  // namespace
}  // namespace twofour
