#include "twofour/sparse/convolution.h"

#include <fmt/format.h>

#include <cstring>

#include "twofour/base/error.h"
#include "twofour/sparse/elements.h"

namespace twofour {
namespace {

constexpr int64_t kGroup = 4;
constexpr int64_t kLargestKernel = 7;

// Element (row, column) of the matrix [out * height * width, in] lies at this index of the weight.
int64_t channels_first_index(const ConvShape& s, int64_t row, int64_t in) {
  const int64_t places = s.height * s.width;
  return (row / places * s.in + in) * places + row % places;
}

template <class Copy>
void for_each_element(const ConvShape& s, Copy copy) {
  for (int64_t row = 0; row < s.out * s.height * s.width; ++row) {
    for (int64_t in = 0; in < s.in; ++in) copy(row * s.in + in, channels_first_index(s, row, in));
  }
}

void check_type(std::string_view name, const TensorView& tensor) {
  check_matrix(name, {tensor.dtype, {1, tensor.shape.numel()}, tensor.data});
}

// [out, in, height, width] or [out, height, width, in]
Shape shape_of(const ConvShape& s, ConvLayout layout) {
  if (layout == ConvLayout::kChannelsFirst) return {s.out, s.in, s.height, s.width};
  return {s.out, s.height, s.width, s.in};
}

// Of a weight with four dimensions.
ConvShape named_dimensions(const Shape& weight, ConvLayout layout, int64_t groups) {
  const bool first = layout == ConvLayout::kChannelsFirst;
  return {weight[0], weight[first ? 1 : 3], weight[first ? 2 : 1], weight[first ? 3 : 2], groups};
}

}  // namespace

std::string why_not_conv(const Shape& weight, ConvLayout layout, int64_t groups) {
  if (weight.rank() != 4) {
    return fmt::format("expected four dimensions of a convolution, found {}", weight.to_string());
  }
  const ConvShape s = named_dimensions(weight, layout, groups);
  const auto kernel = [](int64_t size) { return size >= 1 && size <= kLargestKernel; };
  if (s.out < 1 || s.in < 1 || !kernel(s.height) || !kernel(s.width)) {
    return fmt::format("{} is no convolution with a kernel of 1x1 to {}x{}", weight.to_string(),
                       kLargestKernel, kLargestKernel);
  }
  if (groups < 1 || s.out % groups != 0) {
    return fmt::format("{} groups do not divide {} output channels", groups, s.out);
  }
  return {};
}

ConvShape conv_shape(std::string_view name, const Shape& weight, ConvLayout layout,
                     int64_t groups) {
  const std::string reason = why_not_conv(weight, layout, groups);
  if (!reason.empty()) throw Error(name, reason);
  return named_dimensions(weight, layout, groups);
}

std::string why_not_conv_24(const ConvShape& shape) {
  if (shape.in % kGroup == 0) return {};
  return fmt::format("{} input channels{} are not a multiple of {}", shape.in,
                     shape.groups > 1 ? " a group" : "", kGroup);
}

Tensor conv_matrix(std::string_view name, const TensorView& weight, ConvLayout layout) {
  const ConvShape s = conv_shape(name, weight.shape, layout, 1);
  check_type(name, weight);
  Tensor matrix(weight.dtype, {s.out * s.height * s.width, s.in});
  if (layout == ConvLayout::kChannelsLast) {
    std::memcpy(matrix.data(), weight.data, matrix.bytes());
    return matrix;
  }
  const size_t size = dtype_bytes(weight.dtype);
  for_each_element(s, [&](int64_t to, int64_t from) {
    std::memcpy(matrix.data() + to * size, weight.data + from * size, size);
  });
  return matrix;
}

Tensor conv_weight(std::string_view name, const TensorView& matrix, const ConvShape& s,
                   ConvLayout layout) {
  check_matrix(name, matrix);
  if (matrix.shape != Shape{s.out * s.height * s.width, s.in}) {
    throw Error(name, fmt::format("{} is no matrix of a convolution {}", matrix.shape.to_string(),
                                  shape_of(s, layout).to_string()));
  }
  Tensor weight(matrix.dtype, shape_of(s, layout));
  if (layout == ConvLayout::kChannelsLast) {
    std::memcpy(weight.data(), matrix.data, weight.bytes());
    return weight;
  }
  const size_t size = dtype_bytes(matrix.dtype);
  for_each_element(s, [&](int64_t from, int64_t to) {
    std::memcpy(weight.data() + to * size, matrix.data + from * size, size);
  });
  return weight;
}

std::optional<ConvViolation> find_conv_violation(std::string_view name, const TensorView& weight,
                                                 ConvLayout layout, int64_t groups) {
  const ConvShape s = conv_shape(name, weight.shape, layout, groups);
  if (const std::string reason = why_not_conv_24(s); !reason.empty()) throw Error(name, reason);
  const auto found = find_violation(conv_matrix(name, weight, layout));
  if (!found) return std::nullopt;
  const int64_t place = found->row % (s.height * s.width);
  return ConvViolation{found->row / (s.height * s.width), found->col, place / s.width,
                       place % s.width, found->nonzero};
}

ConvCounts count_conv(std::string_view name, const TensorView& weight, ConvLayout layout,
                      int64_t groups) {
  const ConvShape s = conv_shape(name, weight.shape, layout, groups);
  const Tensor matrix = conv_matrix(name, weight, layout);
  const bool grouped = why_not_conv_24(s).empty();
  ConvCounts counts;
  counts.values = matrix.numel();
  dispatch_elements(matrix.dtype(), [&]<class E>(E) {
    for (int64_t i = 0; i < counts.values;) {
      int64_t nonzero = 0;
      for (const int64_t end = std::min(i + kGroup, counts.values); i < end; ++i) {
        typename E::Bits bits;
        E::load(matrix.data(), i, 1, &bits);
        nonzero += !E::is_zero(bits);
        counts.zeros += E::is_zero(bits);
      }
      if (grouped) ++counts.groups_of_four, counts.groups_2_4 += nonzero <= 2;
    }
  });
  return counts;
}

}  // namespace twofour
