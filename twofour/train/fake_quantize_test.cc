#include "twofour/train/fake_quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "twofour/base/error.h"
#include "twofour/quant/quantize.h"
#include "twofour/train/golden.h"

namespace twofour {
namespace {

using ::testing::HasSubstr;

const Golden& golden() {
  static const Golden file("losses.safetensors");
  return file;
}

// Everything near zero, halves and the clipping limits of `scale`, beside random values over
// several magnitudes.
at::Tensor samples(float scale) {
  at::manual_seed(5);
  std::vector<at::Tensor> parts = {at::randn({4099}), at::randn({1000}) * scale,
                                   at::randn({1000}) * (200 * scale)};
  parts.push_back(at::arange(-300, 300).to(at::kFloat) * (scale / 2));
  parts.push_back(at::tensor({0.0f, -0.0f, 1e-40f, 3e38f, -3e38f}));
  return at::cat(parts);
}

at::Tensor dequantized(const at::Tensor& x, float scale, int bits = 8) {
  at::Tensor y = at::empty_like(x);
  for (int64_t i = 0; i < x.numel(); ++i) {
    y.data_ptr<float>()[i] =
        static_cast<float>(quantize_value(x.data_ptr<float>()[i], scale, bits)) * scale;
  }
  return y;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kInt), b.contiguous().view(at::kInt));
}

TEST(FakeQuantize, EqualsQuantizeBitForBit) {
  for (const float scale : {0.01f, 0.37f, 1.0f, 7e-6f}) {
    for (const int bits : {2, 4, 8}) {
      const at::Tensor x = samples(scale);
      EXPECT_TRUE(same_bits(fake_quantize(x, scale, bits), dequantized(x, scale, bits)))
          << scale << " " << bits;
    }
  }
}

TEST(FakeQuantize, RoundsHalvesToEven) {
  const at::Tensor x = at::tensor({0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, 127.5f, -300.0f});
  const at::Tensor expected = at::tensor({0.0f, 2.0f, 2.0f, 0.0f, -2.0f, 126.0f, 127.0f, -127.0f});
  EXPECT_TRUE(at::equal(fake_quantize(x, 1), expected));
}

TEST(FakeQuantize, Golden) {
  const at::Tensor x = golden().leaf("fake_quantize.x");
  const at::Tensor y = fake_quantize(x, golden()("fake_quantize.scale").item<float>());
  EXPECT_TRUE(at::equal(y, golden()("fake_quantize.output")));
  y.backward(golden()("fake_quantize.grad_output"));
  EXPECT_TRUE(at::equal(x.grad(), golden()("fake_quantize.grad.x")));
}

TEST(FakeQuantize, GoldenRows) {
  const at::Tensor x = golden().leaf("fake_quantize_rows.x"),
                   scale = golden()("fake_quantize_rows.scale");
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < x.size(0); ++i)
    rows.push_back(fake_quantize(x[i], scale[i].item<float>()));
  const at::Tensor y = at::stack(rows);
  EXPECT_TRUE(at::equal(y, golden()("fake_quantize_rows.output")));
  y.backward(golden()("fake_quantize_rows.grad_output"));
  EXPECT_TRUE(at::equal(x.grad(), golden()("fake_quantize_rows.grad.x")));
}

TEST(FakeQuantize, GradientPassesUpToTheLimitAndNoFurther) {
  const float scale = 0.5f, limit = 63.5f, above = std::nextafter(limit, 100.0f);
  const at::Tensor x = at::tensor({0.1f, limit, -limit, above, -above, 1e6f}).requires_grad_(true);
  fake_quantize(x, scale).backward(at::tensor({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f}));
  EXPECT_TRUE(at::equal(x.grad(), at::tensor({1.0f, 2.0f, 3.0f, 0.0f, 0.0f, 0.0f})));
}

TEST(FakeQuantize, Bf16IsTheF32ResultRounded) {
  const at::Tensor x = samples(0.02f).requires_grad_(true);
  const at::Tensor y = fake_quantize(x, 0.02f, 8, at::kBFloat16);
  EXPECT_TRUE(at::equal(y, fake_quantize(x, 0.02f).to(at::kBFloat16)));

  const at::Tensor gradient = at::randn_like(x).to(at::kBFloat16);
  y.backward(gradient);
  ASSERT_EQ(x.grad().scalar_type(), at::kFloat);
  const at::Tensor inside = x.detach().abs().le(0.02f * 127);
  EXPECT_TRUE(at::equal(x.grad(), gradient.to(at::kFloat) * inside));
}

TEST(FakeQuantize, ReadsBf16AndStridedTensors) {
  const at::Tensor half = samples(0.02f).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(fake_quantize(half, 0.02f), fake_quantize(half.to(at::kFloat), 0.02f)));
  const at::Tensor x = at::randn({33, 65});
  EXPECT_TRUE(at::equal(fake_quantize(x.t(), 0.02f), fake_quantize(x, 0.02f).t()));
}

TEST(FakeQuantize, NanStaysNan) {
  const at::Tensor x = at::full({40}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(fake_quantize(x, 1).isnan().all().item<bool>());
  EXPECT_TRUE(fake_quantize(x, 1, 8, at::kBFloat16).isnan().all().item<bool>());
}

TEST(FakeQuantize, RefusesScalesThatCannotDivide) {
  for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    try {
      fake_quantize(at::ones({4}), scale);
      FAIL() << scale;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("the scale must be a normal number above 0"));
    }
  }
  EXPECT_THROW(fake_quantize(at::ones({4}, at::kDouble), 1), Error);
  EXPECT_THROW(fake_quantize_weight(at::ones({4})), Error);
}

TEST(FakeQuantizeWeight, EqualsQuantizeWeightAndPassesTheGradientWhole) {
  at::manual_seed(6);
  for (const int bits : {4, 8}) {
    const at::Tensor w =
        (at::randn({67, 36}) * at::logspace(-3, 3, 67).unsqueeze(1)).to(at::kFloat).clone();
    w[5].zero_();
    w.requires_grad_(true);
    const at::Tensor y = fake_quantize_weight(w, bits);
    const at::Tensor expected =
        to_torch(dequantize_weight(quantize_weight(view_of(w.detach()), bits)));
    EXPECT_TRUE(same_bits(y, expected));

    const at::Tensor gradient = at::randn_like(y);
    y.backward(gradient);
    EXPECT_TRUE(at::equal(w.grad(), gradient));
  }
}

TEST(FakeQuantizeWeight, KeepsZeros) {
  const at::Tensor w = at::randn({8, 16});
  const at::Tensor pruned = w * at::rand_like(w).gt(0.5);
  EXPECT_TRUE(
      at::equal(fake_quantize_weight(pruned).eq(0).logical_and(pruned.eq(0)), pruned.eq(0)));
}

TEST(CalibrationHook, LeavesPaddingOutAndTensorsAlone) {
  at::Tensor x = at::ones({2, 3, 4});
  x[0][2].fill_(100);
  x[1][0].fill_(-3);
  const at::Tensor valid = at::tensor({1, 1, 0, 1, 1, 1}).view({2, 3}).to(at::kBool);
  CalibrationHook hook(2);
  EXPECT_TRUE(at::equal(hook.activation(1, x, valid, at::kFloat), x));
  EXPECT_EQ(hook.histograms()[1].count(), 20);
  EXPECT_EQ(hook.histograms()[1].max(), 3);
  EXPECT_EQ(hook.histograms()[0].count(), 0);
  EXPECT_TRUE(at::equal(hook.weight("w", x, at::kFloat), x));
}

TEST(FakeQuantizeHook, TapSeesWhatTheProductsRead) {
  FakeQuantizeHook hook({0.1f, 0.02f});
  at::Tensor seen;
  int32_t point = -1;
  hook.tap = [&](int32_t quant_point, const at::Tensor& values) {
    point = quant_point;
    seen = values;
  };
  const at::Tensor x = at::randn({2, 3, 4});
  const at::Tensor y = hook.activation(1, x, at::ones({2, 3}, at::kBool), at::kFloat);
  EXPECT_EQ(point, 1);
  EXPECT_EQ(seen.scalar_type(), at::kChar);
  EXPECT_TRUE(at::equal(seen.to(at::kFloat) * 0.02f, y));
}

TEST(FakeQuantizeHook, FewerBitsAreThoseOfWeightsAlone) {
  at::manual_seed(7);
  FakeQuantizeHook hook({0.02f}, /*weight_bits=*/4);
  const at::Tensor w = at::randn({9, 256});
  const at::Tensor y = hook.weight("w", w, at::kFloat);
  EXPECT_TRUE(same_bits(y, to_torch(dequantize_weight(quantize_weight(view_of(w), 4)))));
  for (int64_t row = 0; row < y.size(0); ++row) {
    const float* values = y.const_data_ptr<float>() + row * y.size(1);
    EXPECT_LE(std::set(values, values + y.size(1)).size(), 15u);
  }
  const at::Tensor x = at::randn({2, 3, 4});
  EXPECT_TRUE(at::equal(hook.activation(0, x, at::ones({2, 3}, at::kBool), at::kFloat),
                        fake_quantize(x, 0.02f, 8)));
}

}  // namespace
}  // namespace twofour
