#include "twofour/graph/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "twofour/base/testing.h"

namespace twofour {
namespace {

constexpr ConvLayout kFirst = ConvLayout::kChannelsFirst, kLast = ConvLayout::kChannelsLast;

// Two of four input channels are zero; [out, in, height, width], or a matrix.
Tensor sparse_weight(const Shape& shape) {
  Tensor weight(DType::kF32, shape);
  const int64_t places = shape.rank() == 4 ? shape[2] * shape[3] : 1;
  for (int64_t i = 0; i < weight.numel(); ++i)
    weight.as<float>()[i] = i / places % shape[1] % 4 < 2 ? 1.0f : 0.0f;
  return weight;
}

std::string reason(const WeightReport& report, const std::string& engine) {
  const auto found = std::ranges::find(report.engines, engine, &Eligibility::engine);
  return found == report.engines.end() ? "not asked" : found->reason;
}

TEST(Weights, GroupsOfAConvolutionLieAlongItsInputChannels) {
  Tensor weight = sparse_weight({64, 32, 3, 3});
  const WeightReport report = report_weight("conv1.weight", weight, kFirst, 1);
  EXPECT_EQ(report.conv, (ConvShape{64, 32, 3, 3, 1}));
  EXPECT_EQ(report.type, "F32");
  EXPECT_EQ(report.counts.values, 64 * 32 * 9);
  EXPECT_EQ(report.counts.zeros, 64 * 16 * 9);
  EXPECT_EQ(report.counts.groups_of_four, 64 * 8 * 9);
  EXPECT_EQ(report.counts.groups_2_4, 64 * 8 * 9);
  EXPECT_TRUE(report.is_sparse());
  EXPECT_EQ(reason(report, "tensorrt"), "");
  EXPECT_EQ(reason(report, "cusparselt"), "a 3x3 kernel: it multiplies matrices");
  EXPECT_EQ(reason(report, "cpu"), "not asked");

  weight.as<float>()[2 * 9] = 1;  // a third of the first four
  const WeightReport full = report_weight("conv1.weight", weight, kFirst, 1);
  EXPECT_EQ(full.counts.groups_2_4, 64 * 8 * 9 - 1);
  EXPECT_FALSE(full.is_sparse());
}

TEST(Weights, ChannelsLast) {
  Tensor weight(DType::kF32, {64, 3, 3, 32});
  for (int64_t i = 0; i < weight.numel(); ++i) weight.as<float>()[i] = i % 4 < 2 ? 1.0f : 0.0f;
  const WeightReport report = report_weight("w", weight, kLast, 1);
  EXPECT_EQ(report.conv, (ConvShape{64, 32, 3, 3, 1}));
  EXPECT_TRUE(report.is_sparse());
  const WeightReport misread = report_weight("w", weight, kFirst, 1);
  EXPECT_EQ(misread.dense, "[64, 3, 3, 32] is no convolution with a kernel of 1x1 to 7x7");
  EXPECT_FALSE(misread.is_sparse());
}

TEST(Weights, ShapesThatEnginesCannotTakeAsSparse) {
  const auto report = [](const Shape& shape, int64_t groups) {
    return report_weight("w", sparse_weight(shape), kFirst, groups);
  };
  EXPECT_EQ(report({64, 3, 7, 7}, 1).dense, "3 input channels are not a multiple of 4");
  EXPECT_EQ(report({32, 1, 3, 3}, 32).dense, "1 input channels a group are not a multiple of 4");
  EXPECT_EQ(report({32, 1, 3, 3}, 32).counts.groups_of_four, 0);
  const WeightReport grouped = report({64, 16, 1, 1}, 2);
  EXPECT_TRUE(grouped.is_sparse());
  EXPECT_EQ(reason(grouped, "tensorrt"), "2 groups: no sparse kernels");
  EXPECT_EQ(reason(grouped, "cusparselt"), "2 groups: it multiplies matrices");
  EXPECT_EQ(reason(report({24, 64, 1, 1}, 1), "tensorrt"), "n = 24 is not a multiple of 16");
  EXPECT_EQ(reason(report({64, 48, 1, 1}, 1), "tensorrt"), "");
  EXPECT_EQ(reason(report({64, 48, 1, 1}, 1), "cusparselt"), "k = 48 is not a multiple of 32");
}

TEST(Weights, AMatrixIsAConvolutionOf1x1InBothLayouts) {
  for (const ConvLayout layout : {kFirst, kLast}) {
    const WeightReport report = report_weight("fc.weight", sparse_weight({32, 64}), layout, 1);
    EXPECT_EQ(report.shape, (Shape{32, 64}));
    EXPECT_EQ(report.conv, (ConvShape{32, 64, 1, 1, 1}));
    EXPECT_EQ(report.counts.groups_2_4, 32 * 16);
    EXPECT_EQ(reason(report, "cusparselt"), "");
  }
}

class WeightFile : public FolderTest {};

TEST_F(WeightFile, HoldsConvolutionsAndMatricesAmongOtherTensors) {
  const Tensor conv = sparse_weight({8, 4, 3, 3}), norm(DType::kF32, {8}),
               mask(DType::kBool, {8, 4, 3, 3}), ids(DType::kI64, {2, 4});
  Tensor fc(DType::kF64, {2, 8});
  std::ranges::fill(fc.as<double>(), 0.5);
  const auto path = folder_ / "model.safetensors";
  write_safetensors(path, {{"conv1.weight", conv},
                           {"conv1.__weight_mma_mask", mask},
                           {"conv1.bias", norm},
                           {"norm.weight", norm},
                           {"ids.weight", ids},
                           {"fc.weight", fc}});
  const auto reports = inspect_weights(Safetensors::open(path), kFirst);
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].name, "conv1.weight");
  EXPECT_EQ(reports[0].op, "");
  EXPECT_TRUE(reports[0].is_sparse());
  EXPECT_EQ(reports[1].name, "fc.weight");
  EXPECT_EQ(reports[1].type, "F64");
  EXPECT_EQ(reports[1].counts.groups_of_four, 4);
  EXPECT_EQ(reports[1].counts.groups_2_4, 0);
}

}  // namespace
}  // namespace twofour
