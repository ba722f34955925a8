#include "twofour/quant/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <vector>

#include "twofour/base/testing.h"

namespace twofour {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// The formula as written, with the library's rounding.
int formula(float x, float scale, int bits) {
  const float qmax = static_cast<float>((1 << (bits - 1)) - 1);
  return static_cast<int>(std::fmin(std::fmax(std::nearbyint(x / scale), -qmax), qmax));
}

TEST(QuantizeValue, RoundsHalfToEven) {
  const float scale = 0.25f;
  for (int half = -253; half <= 253; half += 2) {
    const float x = static_cast<float>(half) / 2 * scale;
    EXPECT_EQ(quantize_value(x, scale) % 2, 0) << half / 2.0;
    EXPECT_EQ(quantize_value(x, scale), formula(x, scale, 8));
    EXPECT_EQ(quantize_value(std::nextafter(x, kInfinity), scale), (half + 1) / 2);
  }
}

TEST(QuantizeValue, NeverLeavesTheNarrowRange) {
  EXPECT_EQ(quantize_value(-127.5f, 1), -127);
  EXPECT_EQ(quantize_value(-128, 1), -127);
  EXPECT_EQ(quantize_value(-1e38f, 1), -127);
  EXPECT_EQ(quantize_value(1e38f, 1e-38f), 127);
  EXPECT_EQ(quantize_value(kInfinity, 1), 127);
  EXPECT_EQ(quantize_value(-kInfinity, 1), -127);
  EXPECT_EQ(quantize_value(kNaN, 1), 0);
  EXPECT_EQ(quantize_value(-100, 1, 2), -1);
  EXPECT_EQ(quantize_value(100, 1, 4), 7);
}

TEST(Quantize, EqualsTheFormula) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(10007);
  for (float& value : x) value = normal(random);
  std::vector<int8_t> out(x.size());
  for (int bits = 2; bits <= 8; ++bits) {
    for (const float amax : {0.1f, 3.0f, 7.77f, 40.0f}) {
      const float scale = scale_from_amax(amax, bits);
      quantize(x, scale, out, bits);
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(out[i], formula(x[i], scale, bits)) << x[i] << " / " << scale;
        ASSERT_EQ(out[i], quantize_value(x[i], scale, bits));
      }
    }
  }
}

TEST(Quantize, DividesByTheScale) {
  // x * (1 / s) rounds to the other side here.
  int differences = 0;
  for (int i = 1; i < 2000; ++i) {
    const float scale = 0.001f * static_cast<float>(i);
    const float x = 62.5f * scale;
    differences += quantize_value(x, scale) != std::nearbyint(x * (1 / scale));
    EXPECT_EQ(quantize_value(x, scale), formula(x, scale, 8));
  }
  EXPECT_GT(differences, 0);
}

TEST(Quantize, RefusesBadArguments) {
  const std::vector<float> x(3);
  std::vector<int8_t> out(3), short_out(2);
  EXPECT_EQ(error_of([&] { quantize(x, 0, out); }),
            "[quantize] scale is 0, expected a finite value > 0");
  EXPECT_THAT(error_of([&] { quantize(x, kNaN, out); }), HasSubstr("scale is nan"));
  EXPECT_THAT(error_of([&] { quantize(x, kInfinity, out); }), HasSubstr("scale is inf"));
  EXPECT_EQ(error_of([&] { quantize(x, 1, short_out); }), "[quantize] 3 values but room for 2");
  EXPECT_EQ(error_of([&] { quantize(x, 1, out, 9); }), "[quantize] bits is 9, expected 2 to 8");
  EXPECT_EQ(error_of([&] { quantize(x, 1, out, 1); }), "[quantize] bits is 1, expected 2 to 8");
}

TEST(Scale, IsNeverBelowTheSmallestNormal) {
  constexpr float kSmallest = std::numeric_limits<float>::min();
  EXPECT_EQ(scale_from_amax(254), 2);
  EXPECT_EQ(scale_from_amax(3, 3), 1);
  EXPECT_EQ(scale_from_amax(0), kSmallest);
  EXPECT_EQ(scale_from_amax(kSmallest), kSmallest);
  EXPECT_EQ(quantize_value(0, scale_from_amax(0)), 0);
  for (const float bad : {-1.0f, kNaN, kInfinity}) {
    EXPECT_THAT(error_of([&] { scale_from_amax(bad); }), HasSubstr("expected a finite value >= 0"));
  }
  EXPECT_THAT(error_of([] { scale_from_amax(1, 9); }), HasSubstr("bits is 9"));
}

TEST(QuantizeWeight, ScalesEachRow) {
  Tensor weight(DType::kF32, {3, 4});
  const std::vector<float> values = {127, -63.5f, 0.5f, 1.5f, 0, 0, 0, 0, -2.54f, 0.02f, 0.01f, 1};
  std::memcpy(weight.data(), values.data(), weight.bytes());
  const QuantizedWeight quantized = quantize_weight(weight);
  EXPECT_THAT(quantized.values.as<int8_t>(),
              ElementsAre(127, -64, 0, 2, 0, 0, 0, 0, -127, 1, 0, 50));
  EXPECT_EQ(quantized.values.shape(), (Shape{3, 4}));
  EXPECT_EQ(quantized.scales.shape(), (Shape{3, 1}));
  EXPECT_THAT(quantized.scales.as<float>(),
              ElementsAre(1.0f, std::numeric_limits<float>::min(), 2.54f / 127));
  const Tensor back = dequantize_weight(quantized);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_LE(std::fabs(back.as<float>()[i] - values[i]),
              quantized.scales.as<float>()[i / 4] * 0.5000001f);
  }
}

TEST(QuantizeWeight, AgreesWithNumpyOnATrainedMatrix) {
  Tensor weight(DType::kF32, {128, 128});
  std::ifstream file(
      std::string(TWOFOUR_SOURCE_DIR) + "/tests/data/bert-tiny/layer0_attself_query_weight.f32",
      std::ios::binary);
  file.read(reinterpret_cast<char*>(weight.data()), static_cast<std::streamsize>(weight.bytes()));
  ASSERT_TRUE(file.good());
  const auto relative_error = [&](int bits) {
    const Tensor back = dequantize_weight(quantize_weight(weight, bits));
    double error = 0, energy = 0;
    for (int64_t i = 0; i < weight.numel(); ++i) {
      const double w = weight.as<float>()[i], difference = back.as<float>()[i] - w;
      error += difference * difference;
      energy += w * w;
    }
    return std::sqrt(error / energy);
  };
  EXPECT_NEAR(relative_error(8), 0.00686410, 1e-7);
  EXPECT_NEAR(relative_error(4), 0.1241037, 1e-6);
  // numpy: (q * arange(q.size)).sum() with q = rint(w / (amax / 127)) in float32.
  const QuantizedWeight quantized = quantize_weight(weight);
  int64_t checksum = 0;
  for (int64_t i = 0; i < weight.numel(); ++i) checksum += i * quantized.values.as<int8_t>()[i];
  EXPECT_EQ(checksum, -54246644);
}

TEST(QuantizeWeight, RefusesBadWeights) {
  Tensor weight(DType::kF32, {2, 3});
  std::memset(weight.data(), 0, weight.bytes());
  weight.as<float>()[5] = kNaN;
  EXPECT_EQ(error_of([&] { quantize_weight(weight); }),
            "[quantize_weight] weight at [1, 2] is nan, expected a finite value");
  EXPECT_EQ(error_of([] { quantize_weight(Tensor(DType::kF32, {6})); }),
            "[quantize_weight] expected an F32 matrix, found F32 [6]");
  EXPECT_EQ(error_of([] {
              quantize_weight(Tensor(DType::kF16, {2, 3}));
            }),
            "[quantize_weight] expected an F32 matrix, found F16 [2, 3]");
  const QuantizedWeight torn{Tensor(DType::kI8, {2, 3}), Tensor(DType::kF32, {3, 1})};
  EXPECT_EQ(
      error_of([&] { dequantize_weight(torn); }),
      "[dequantize_weight] expected I8 [n, k] with F32 [n, 1], found I8 [2, 3] with F32 [3, 1]");
}

TEST(QuantScheme, NamesItself) {
  EXPECT_EQ(QuantScheme{}.to_string(), "int8 symmetric static per-tensor");
  EXPECT_EQ(
      (QuantScheme{.bits = 4, .granularity = QuantScheme::Granularity::kPerChannel}.to_string()),
      "int4 symmetric static per-channel");
  EXPECT_EQ(
      (QuantScheme{
          .zero_point = true, .dynamic = true, .granularity = QuantScheme::Granularity::kPerToken}
           .to_string()),
      "int8 asymmetric dynamic per-token");
  EXPECT_EQ((QuantScheme{.bits = 4}.qmax()), 7);
}

}  // namespace
}  // namespace twofour
