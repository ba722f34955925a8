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
  AdamWOptions options;
  at::Tensor w, m, v;
  int step = 0;

  PlainAdamW(const AdamWOptions& options_in, const at::Tensor& parameter)
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
  AdamWOptions options;
  options.weight_decay = 0.1;
  AdamW optimizer(parameters, options);
  for (int64_t i = 0; i < 5; ++i) {
    parameters["w"].mutable_grad() = golden("adamw.gradients")[i].clone();
    optimizer.step(0.01);
    EXPECT_TRUE(near(parameters["w"], golden("adamw.after")[i], 1e-6)) << i;
  }
}

TEST(AdamW, EqualsPlainLoopsWithClippingAndWithoutDecayOfVectors) {
  AdamWOptions options;
  options.weight_decay = 0.3;
  options.clip_norm = 5;
  ParameterMap parameters = random_parameters();
  std::map<std::string, PlainAdamW> expected;
  for (const auto& [name, parameter] : parameters)
    expected.emplace(name, PlainAdamW(options, parameter));
  AdamW optimizer(parameters, options);
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

TEST(AdamW, LeavesParametersWithoutGradientAlone) {
  ParameterMap parameters = random_parameters();
  AdamW optimizer(parameters, {});
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
  AdamW optimizer(parameters, {});
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
  AdamW optimizer(parameters, {});
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

TEST(AdamW, ResumesBitForBit) {
  ParameterMap parameters = random_parameters();
  AdamW optimizer(parameters, {});
  set_gradients(parameters);
  optimizer.step(0.01);

  ParameterMap copies;
  for (const auto& [name, parameter] : parameters)
    copies[name] = parameter.detach().clone().requires_grad_(true);
  AdamW resumed(copies, {});
  resumed.load_state(optimizer.state());
  set_gradients(parameters);
  for (const auto& [name, parameter] : parameters)
    copies[name].mutable_grad() = parameter.grad().clone();
  optimizer.step(0.01);
  resumed.step(0.01);
  for (const auto& [name, parameter] : parameters)
    EXPECT_TRUE(at::equal(copies[name], parameter)) << name;
}

std::string load_error(AdamW& optimizer, const std::map<std::string, at::Tensor>& state) {
  try {
    optimizer.load_state(state);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(AdamW, RefusesStateOfAnotherModel) {
  AdamW optimizer(random_parameters(), {});
  std::map<std::string, at::Tensor> state = optimizer.state();
  state.erase("step.b.bias");
  EXPECT_THAT(load_error(optimizer, state), HasSubstr("step.b.bias is missing"));
  state = optimizer.state();
  state["exp_avg.a.weight"] = at::zeros({2, 2});
  EXPECT_THAT(load_error(optimizer, state),
              HasSubstr("exp_avg.a.weight has 4 elements, expected 740"));
  state = optimizer.state();
  state["step.c"] = at::zeros({});
  EXPECT_THAT(load_error(optimizer, state), HasSubstr("has 10 tensors, expected 9"));
}

}  // namespace
}  // namespace twofour
