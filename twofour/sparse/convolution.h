// Convolutions as 2:4 matrices: groups of four run over the input channels of one output channel
// and one place of the kernel, which is how sparse tensor cores multiply them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "twofour/base/tensor.h"
#include "twofour/sparse/sparse24.h"

namespace twofour {

enum class ConvLayout {
  kChannelsFirst,  // [out, in, height, width]: ONNX, PyTorch
  kChannelsLast,   // [out, height, width, in]: TensorFlow Lite, cuDNN's NHWC
};

// A weight, `in` being the input channels of one group.
struct ConvShape {
  int64_t out = 0, in = 0, height = 0, width = 0;
  int64_t groups = 1;
  bool operator==(const ConvShape&) const = default;
};

// Empty if the shape has four dimensions, a kernel of 1x1 to 7x7, and `groups` that divide the
// output channels; otherwise what it lacks.
std::string why_not_conv(const Shape& weight, ConvLayout layout, int64_t groups);

// Throws Error(name) with that reason.
ConvShape conv_shape(std::string_view name, const Shape& weight, ConvLayout layout, int64_t groups);

// Why its groups of four cannot be 2:4 ("6 input channels a group are not a multiple of 4"); empty:
// they may be.
std::string why_not_conv_24(const ConvShape& shape);

// The weight as [out * height * width, in], F32, F16, BF16 or I8: a copy from channels first, the
// same bytes from channels last. Masks, checks and compress() take it from there.
Tensor conv_matrix(std::string_view name, const TensorView& weight, ConvLayout layout);
// The inverse. Throws Error where the numbers of values differ.
Tensor conv_weight(std::string_view name, const TensorView& matrix, const ConvShape& shape,
                   ConvLayout layout);

// The first group of four input channels with more than two non-zero values.
struct ConvViolation {
  int64_t out, in, y, x;  // `in` is the first of the four, within its group of channels
  int nonzero;
};
std::optional<ConvViolation> find_conv_violation(std::string_view name, const TensorView& weight,
                                                 ConvLayout layout, int64_t groups);

// Integers counted in the weight as it stands.
struct ConvCounts {
  int64_t values = 0, zeros = 0;
  int64_t groups_of_four = 0, groups_2_4 = 0;  // none where the input channels are no multiple of 4
};
ConvCounts count_conv(std::string_view name, const TensorView& weight, ConvLayout layout,
                      int64_t groups);

}  // namespace twofour
