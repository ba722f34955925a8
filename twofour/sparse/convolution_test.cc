#include "twofour/sparse/convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "twofour/base/error.h"
#include "twofour/sparse/testing.h"

namespace twofour {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr ConvLayout kFirst = ConvLayout::kChannelsFirst, kLast = ConvLayout::kChannelsLast;

// [out, in, height, width] with a value of its own everywhere.
Tensor numbered(int64_t out, int64_t in, int64_t height, int64_t width) {
  Tensor weight(DType::kF32, {out, in, height, width});
  std::iota(weight.as<float>().begin(), weight.as<float>().end(), 1.0f);
  return weight;
}

// 2:4 along input channels by the mask of the squares.
Tensor pruned(const Tensor& weight, ConvLayout layout, int64_t groups) {
  const ConvShape shape = conv_shape("w", weight.shape(), layout, groups);
  Tensor matrix = conv_matrix("w", weight, layout);
  std::vector<float> saliency(matrix.as<float>().begin(), matrix.as<float>().end());
  for (float& value : saliency) value *= value;
  const Mask mask =
      compute_mask("w", saliency, matrix.shape()[0], matrix.shape()[1], MaskOptions{}).mask;
  for (int64_t i = 0; i < matrix.numel(); ++i) matrix.as<float>()[i] *= mask.keep[i];
  return conv_weight("w", matrix, shape, layout);
}

TEST(Convolution, GroupsRunOverInputChannels) {
  const Tensor weight = numbered(2, 8, 3, 5);
  const Tensor matrix = conv_matrix("w", weight, kFirst);
  ASSERT_EQ(matrix.shape(), (Shape{2 * 3 * 5, 8}));
  for (int64_t out = 0; out < 2; ++out) {
    for (int64_t y = 0; y < 3; ++y) {
      for (int64_t x = 0; x < 5; ++x) {
        for (int64_t in = 0; in < 8; ++in) {
          EXPECT_EQ(matrix.as<float>()[((out * 3 + y) * 5 + x) * 8 + in],
                    weight.as<float>()[((out * 8 + in) * 3 + y) * 5 + x]);
        }
      }
    }
  }
}

TEST(Convolution, ThereAndBackInBothLayoutsAndEveryType) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    for (const ConvLayout layout : {kFirst, kLast}) {
      const Shape dims = layout == kFirst ? Shape{6, 8, 3, 2} : Shape{6, 3, 2, 8};
      Tensor weight(type, dims);
      for (size_t i = 0; i < weight.bytes(); ++i) weight.data()[i] = std::byte(i * 7 + 1);
      const ConvShape shape = conv_shape("w", dims, layout, 2);
      EXPECT_EQ(shape, (ConvShape{6, 8, 3, 2, 2}));
      const Tensor back = conv_weight("w", conv_matrix("w", weight, layout), shape, layout);
      EXPECT_EQ(back.shape(), dims);
      EXPECT_TRUE(std::equal(weight.data(), weight.data() + weight.bytes(), back.data()));
    }
  }
}

TEST(Convolution, BothLayoutsHoldTheSameMatrix) {
  const Tensor first = numbered(4, 8, 3, 3);
  const Tensor matrix = conv_matrix("w", first, kFirst);
  const ConvShape shape = conv_shape("w", first.shape(), kFirst, 1);
  const Tensor last = conv_weight("w", matrix, shape, kLast);
  EXPECT_EQ(last.shape(), (Shape{4, 3, 3, 8}));
  const Tensor same = conv_matrix("w", last, kLast);
  EXPECT_TRUE(std::equal(matrix.data(), matrix.data() + matrix.bytes(), same.data()));
}

TEST(Convolution, PrunedCheckedCountedAndCompressedFrom1x1To7x7) {
  for (const int64_t kernel : {1, 2, 3, 5, 7}) {
    for (const int64_t groups : {1, 2}) {
      const Tensor dense = numbered(4, 16, kernel, kernel);
      EXPECT_TRUE(find_conv_violation("w", dense, kFirst, groups).has_value());
      const Tensor sparse = pruned(dense, kFirst, groups);
      EXPECT_FALSE(find_conv_violation("w", sparse, kFirst, groups).has_value());
      const ConvCounts counts = count_conv("w", sparse, kFirst, groups);
      EXPECT_EQ(counts.values, 4 * 16 * kernel * kernel);
      EXPECT_EQ(counts.zeros, counts.values / 2);
      EXPECT_EQ(counts.groups_of_four, counts.values / 4);
      EXPECT_EQ(counts.groups_2_4, counts.groups_of_four);
      const Tensor matrix = conv_matrix("w", sparse, kFirst);
      const Tensor expanded = expand(compress("w", matrix));
      EXPECT_TRUE(std::equal(matrix.data(), matrix.data() + matrix.bytes(), expanded.data()));
    }
  }
}

TEST(Convolution, AViolationIsNamedByItsPlace) {
  Tensor weight = pruned(numbered(4, 16, 3, 3), kFirst, 1);
  // Output channel 2, input channels 8 to 11, row 1, column 2.
  for (int64_t in = 8; in < 11; ++in) weight.as<float>()[((2 * 16 + in) * 3 + 1) * 3 + 2] = 1;
  const auto found = find_conv_violation("w", weight, kFirst, 1);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->out, 2);
  EXPECT_EQ(found->in, 8);
  EXPECT_EQ(found->y, 1);
  EXPECT_EQ(found->x, 2);
  EXPECT_GE(found->nonzero, 3);
  const ConvCounts counts = count_conv("w", weight, kFirst, 1);
  EXPECT_EQ(counts.groups_2_4, counts.groups_of_four - 1);
}

// Depthwise: one input channel a group.
TEST(Convolution, ChannelsThatMakeNoGroupsOfFour) {
  const Tensor weight = numbered(8, 1, 3, 3);
  EXPECT_EQ(why_not_conv_24(conv_shape("w", weight.shape(), kFirst, 8)),
            "1 input channels a group are not a multiple of 4");
  EXPECT_EQ(why_not_conv_24(conv_shape("w", {64, 3, 7, 7}, kFirst, 1)),
            "3 input channels are not a multiple of 4");
  EXPECT_EQ(why_not_conv_24(conv_shape("w", {64, 64, 1, 1}, kFirst, 1)), "");
  const ConvCounts counts = count_conv("w", weight, kFirst, 8);
  EXPECT_EQ(counts.groups_of_four, 0);
  EXPECT_EQ(counts.values, 72);
  EXPECT_THAT([&] { find_conv_violation("w", weight, kFirst, 8); },
              ThrowsMessage<Error>(HasSubstr("[w] 1 input channels a group")));
}

TEST(Convolution, Refusals) {
  const auto refuse = [](const Shape& shape, int64_t groups, const std::string& message) {
    EXPECT_THAT([&] { conv_shape("conv1.weight", shape, kFirst, groups); },
                ThrowsMessage<Error>(HasSubstr("[conv1.weight] " + message)));
  };
  refuse({8, 8}, 1, "expected four dimensions of a convolution, found [8, 8]");
  refuse({8, 8, 8, 1}, 1, "[8, 8, 8, 1] is no convolution with a kernel of 1x1 to 7x7");
  refuse({8, 8, 0, 1}, 1, "[8, 8, 0, 1] is no convolution");
  refuse({8, 8, 1, 1}, 3, "3 groups do not divide 8 output channels");
  refuse({8, 8, 1, 1}, 0, "0 groups");
  const Tensor wrong(DType::kI64, {4, 4, 1, 1});
  EXPECT_THAT([&] { conv_matrix("w", wrong, kFirst); },
              ThrowsMessage<Error>(HasSubstr("found I64")));
  EXPECT_THAT(
      [&] {
        conv_weight("w", Tensor(DType::kF32, {4, 4}), {4, 8, 1, 1, 1}, kFirst);
      },
      ThrowsMessage<Error>(HasSubstr("is no matrix of a convolution [4, 8, 1, 1]")));
}

}  // namespace
}  // namespace twofour
