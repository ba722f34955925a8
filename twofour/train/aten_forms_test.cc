#include "twofour/train/aten_forms.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "twofour/base/testing.h"
#include "twofour/train/dropout.h"
#include "twofour/train/fake_quantize.h"
#include "twofour/train/optimizer.h"
#include "twofour/train/sparsity_context.h"

namespace twofour {
namespace {

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::ScalarType bits = a.element_size() == 4 ? at::kInt : at::kShort;
  return at::equal(a.contiguous().view(bits), b.contiguous().view(bits));
}

template <class F>
auto by_operators(const F& f) {
  const aten_forms::Everywhere guard;
  return f();
}

// Ties, signed zeros and the limits of `scale`, beside random values over several magnitudes.
at::Tensor samples(float scale) {
  at::manual_seed(5);
  return at::cat({at::randn({4099}), at::randn({1000}) * (200 * scale),
                  at::arange(-300, 300).to(at::kFloat) * (scale / 2),
                  at::tensor({0.0f, -0.0f, 1e-40f, 3e38f, -3e38f})});
}

TEST(AtenForms, AreForWhatIsNotInHostMemoryAndForTests) {
  const at::Tensor host = at::ones({1}), other = at::ones({1}, at::kMeta);
  EXPECT_FALSE(aten_forms::needed(host));
  EXPECT_TRUE(aten_forms::needed(other));
  EXPECT_TRUE(by_operators([&] { return aten_forms::needed(host); }));
  EXPECT_FALSE(aten_forms::needed(host));
}

TEST(AtenForms, FakeQuantizeHasTheBitsOfItsLoop) {
  for (const float scale : {0.01f, 0.37f, 7e-6f}) {
    for (const at::ScalarType from : {at::kFloat, at::kBFloat16}) {
      for (const at::ScalarType to : {at::kFloat, at::kBFloat16}) {
        const auto run = [&] {
          const at::Tensor x = samples(scale).to(from).requires_grad_(true);
          const at::Tensor y = fake_quantize(x, scale, from == to ? 8 : 4, to);
          y.backward(samples(1).to(to));
          return std::pair(y.detach(), x.grad());
        };
        const auto [y, gradient] = run();
        const auto [by_operators_y, by_operators_gradient] = by_operators(run);
        EXPECT_TRUE(same_bits(y, by_operators_y)) << scale << from << to;
        EXPECT_TRUE(same_bits(gradient, by_operators_gradient)) << scale << from << to;
      }
    }
  }
}

TEST(AtenForms, FakeQuantizeReadsStridedTensorsAndKeepsNan) {
  const at::Tensor x = at::randn({33, 65});
  const auto run = [&] { return fake_quantize(x.t(), 0.02f); };
  EXPECT_TRUE(same_bits(by_operators(run), run()));
  const at::Tensor nan = at::full({40}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(by_operators([&] { return fake_quantize(nan, 1); }).isnan().all().item<bool>());
}

TEST(AtenForms, FakeQuantizeWeightHasTheBitsOfItsLoop) {
  at::manual_seed(6);
  at::Tensor w =
      (at::randn({67, 36}) * at::logspace(-3, 3, 67).unsqueeze(1)).to(at::kFloat).clone();
  w[5].zero_();
  w[6].fill_(1e-44f);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int bits : {2, 4, 8}) {
      const auto run = [&] { return fake_quantize_weight(w, bits, type); };
      EXPECT_TRUE(same_bits(by_operators(run), run())) << bits;
    }
  }
}

// Where the loop throws.
TEST(AtenForms, RowsThatAreNotFiniteBecomeNan) {
  at::Tensor w = at::ones({3, 4});
  w[0][1] = std::numeric_limits<float>::infinity();
  w[2][3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = by_operators([&] { return fake_quantize_weight(w); });
  EXPECT_TRUE(at::equal(y.isnan().all(1), at::tensor({1, 0, 1}).to(at::kBool)));
  EXPECT_TRUE(at::equal(y[1], w[1]));
}

TEST(AtenForms, DropoutZeroesTheShareAndScalesTheRest) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const double p : {0.0, 0.1, 0.9}) {
      const int64_t n = 1'000'003;
      const at::Tensor x = at::randn({n}).to(type).requires_grad_(true);
      at::manual_seed(7);
      const at::Tensor y = by_operators([&] { return apply_dropout(x, p); });
      const at::Tensor values = y.detach(), kept = values.ne(0);
      const double share = kept.to(at::kDouble).mean().item<double>();
      EXPECT_NEAR(share, 1 - p, 5 * std::sqrt(p * (1 - p) / n) + 1e-4) << p;
      // What is kept has the bits that the loop would give it.
      const auto scale = static_cast<float>(1 / (1 - p));
      const at::Tensor scaled = (x.detach().to(at::kFloat) * scale).to(type);
      EXPECT_TRUE(same_bits(values.masked_select(kept), scaled.masked_select(kept))) << p;
      by_operators([&] { return y.backward(at::ones_like(y)), 0; });
      EXPECT_TRUE(at::equal(x.grad(), at::full({}, scale, at::kFloat).to(type) * kept)) << p;
    }
  }
}

TEST(AtenForms, DropoutFollowsTheSeedWithNumbersOfItsOwn) {
  const at::Tensor x = at::ones({300, 301});
  const auto seeded = [&](uint64_t seed) {
    at::manual_seed(seed);
    return apply_dropout(x, 0.2);
  };
  const at::Tensor first = by_operators([&] { return seeded(1); });
  EXPECT_TRUE(at::equal(by_operators([&] { return seeded(1); }), first));
  EXPECT_FALSE(at::equal(by_operators([&] { return seeded(2); }), first));
  EXPECT_FALSE(at::equal(seeded(1), first));
}

// --- Masks -------------------------------------------------------------------------------------

const Network& network() {
  static const Network result = build_network(
      ModelDirectory::open(TWOFOUR_SOURCE_DIR "/tests/golden/cross-encoder/model").config());
  return result;
}

// Parameters and masks after stages that nest, share rows and regrow, with steps in between.
std::map<std::string, at::Tensor> after_stages() {
  at::manual_seed(8);
  ParameterMap parameters;
  for (const Parameter& parameter : network().parameters) {
    parameters[parameter.name] = at::randn(parameter.shape.dims()).requires_grad_(true);
  }
  Recipe recipe;
  recipe.stages.resize(3);
  recipe.stages[0].sparsity = 0.25;
  recipe.stages[1].sparsity = recipe.stages[2].sparsity = 0.5;
  recipe.stages[1].regrowth = true;
  recipe.stages[2].share_rows = 2;
  SparsityContext context(network(), recipe);
  Optimizer optimizer(parameters, {});
  for (const Stage& stage : recipe.stages) {
    optimizer.zero_moments(context.advance(stage, parameters));
    for (int step = 0; step < 3; ++step) {
      for (const auto& [name, parameter] : parameters)
        parameter.mutable_grad() = at::randn(parameter.sizes());
      context.mask_gradients(parameters);
      optimizer.step(0.01);
      context.apply(parameters);
      context.check(parameters);
    }
  }
  std::map<std::string, at::Tensor> all = context.state();
  for (const auto& [name, parameter] : parameters) all[name] = parameter.detach();
  return all;
}

TEST(AtenForms, MasksAreAppliedToTheSameBits) {
  const auto loops = after_stages(), operators = by_operators(after_stages);
  ASSERT_EQ(loops.size(), operators.size());
  for (const auto& [name, tensor] : loops) {
    EXPECT_TRUE(at::equal(operators.at(name), tensor)) << name;
  }
}

TEST(AtenForms, CheckNamesTheWeightOutsideItsMask) {
  const std::string name = "encoder.layer.0.attention.self.query.weight";
  ParameterMap parameters;
  for (const Parameter& parameter : network().parameters)
    parameters[parameter.name] = at::randn(parameter.shape.dims());
  Stage stage;
  stage.sparsity = 0.5;
  SparsityContext context(network(), {});
  context.advance(stage, parameters);
  const int64_t column = parameters.at(name)[0].eq(0).nonzero()[0].item<int64_t>();
  parameters.at(name)[0][column] = 0.25;
  const auto message = [&] { return error_of([&] { context.check(parameters); }); };
  EXPECT_EQ(message(), fmt::format("[{}] the weight at [0, {}] is 0.25, but its mask prunes it",
                                   name, column));
  EXPECT_EQ(by_operators(message), message());
  by_operators([&] { return context.apply(parameters), 0; });
  EXPECT_EQ(by_operators(message), "no error");
}

}  // namespace
}  // namespace twofour
