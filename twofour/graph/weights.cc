#include "twofour/graph/weights.h"

#include <fmt/format.h>

#include <string_view>

namespace twofour {
namespace {

std::string why_no_matrix(const ConvShape& conv) {
  if (conv.groups > 1) return fmt::format("{} groups: it multiplies matrices", conv.groups);
  if (conv.height == 1 && conv.width == 1) return {};
  return fmt::format("a {}x{} kernel: it multiplies matrices", conv.height, conv.width);
}

// TensorRT considers no sparse kernel for groups (TensorRT issue 4054).
std::string why_no_sparse_conv(const ConvShape& conv) {
  return conv.groups > 1 ? fmt::format("{} groups: no sparse kernels", conv.groups) : "";
}

// Of files that other engines run; n and k are output and input channels.
std::vector<Eligibility> engines_of(const ConvShape& conv) {
  std::vector<Eligibility> engines;
  for (Eligibility& e : sparse_int8_engines(conv.out, conv.in)) {
    if (e.engine == "cpu") continue;
    const std::string reason =
        e.engine == "cusparselt" ? why_no_matrix(conv) : why_no_sparse_conv(conv);
    if (!reason.empty()) e.reason = reason;
    engines.push_back(std::move(e));
  }
  return engines;
}

TensorView as_convolution(const TensorView& weight, ConvLayout layout) {
  if (weight.shape.rank() != 2) return weight;
  const int64_t n = weight.shape[0], k = weight.shape[1];
  const bool first = layout == ConvLayout::kChannelsFirst;
  return {weight.dtype, first ? Shape{n, k, 1, 1} : Shape{n, 1, 1, k}, weight.data};
}

bool is_counted(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kI8;
}

bool is_weight(std::string_view name, const TensorView& tensor) {
  const size_t rank = tensor.shape.rank();
  return (name == "weight" || name.ends_with(".weight")) && (rank == 2 || rank == 4) &&
         (is_counted(tensor.dtype) || tensor.dtype == DType::kF64);
}

}  // namespace

WeightReport report_weight(const std::string& name, const TensorView& weight, ConvLayout layout,
                           int64_t groups) {
  WeightReport report;
  report.name = name;
  report.type = dtype_name(weight.dtype);
  report.shape = weight.shape;
  const TensorView conv = as_convolution(weight, layout);
  report.dense = why_not_conv(conv.shape, layout, groups);
  if (!report.dense.empty()) return report;
  report.conv = conv_shape(name, conv.shape, layout, groups);
  report.counts = count_conv(name, conv, layout, groups);
  report.dense = why_not_conv_24(report.conv);
  report.engines = engines_of(report.conv);
  return report;
}

std::vector<WeightReport> inspect_weights(const Safetensors& tensors, ConvLayout layout) {
  std::vector<WeightReport> reports;
  for (const std::string& name : tensors.names()) {
    const TensorView tensor = tensors.get(name);
    if (!is_weight(name, tensor)) continue;
    reports.push_back(is_counted(tensor.dtype)
                          ? report_weight(name, tensor, layout, 1)
                          : report_weight(name, to_f32(tensor, name), layout, 1));
    reports.back().type = dtype_name(tensor.dtype);
  }
  return reports;
}

}  // namespace twofour
