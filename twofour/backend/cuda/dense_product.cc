#include "twofour/backend/cuda/dense_product.h"

#include <fmt/format.h>

namespace twofour::cuda {
namespace {

constexpr int kFirstBf16Capability = 80;
constexpr int kFirstE4m3Capability = 89;

bool has_output(DType input, DType output) {
  switch (input) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return output == input;
    case DType::kI8:
      return output == DType::kI8 || output == DType::kI32;
    case DType::kF8E4M3:
      return output == DType::kF16 || output == DType::kBF16 || output == DType::kF32;
    default:
      return false;
  }
}

// What the library's tables ask of n and k: Tensor Cores take whole vectors of 8-bit elements.
int64_t dense_multiple(DType input) {
  return input == DType::kI8 ? 4 : input == DType::kF8E4M3 ? 16 : 1;
}

std::optional<std::string> rejects_dimension(const ProductDesc& p, std::string_view name,
                                             int64_t value) {
  const int64_t multiple = dense_multiple(p.input);
  if (value > 0 && value % multiple == 0) return std::nullopt;
  return fmt::format("{} is {}, expected a multiple of {} for {}", name, value, multiple,
                     dtype_name(p.input));
}

std::optional<std::string> rejects_epilogue(const ProductDesc& p) {
  if (p.channel_scales) return "cuBLASLt does not scale by channel";
  if (!p.activation && p.bias == nullptr) return std::nullopt;
  if (p.input == DType::kI8) return "cuBLASLt has no epilogue for I8 products";
  if (p.input == DType::kF8E4M3 && p.output == DType::kF32 && p.bias != nullptr)
    return "F8_E4M3 products with F32 results take no F32 bias";
  if (!p.activation || *p.activation == ActivationKind::kRelu ||
      *p.activation == ActivationKind::kGeluTanh) {
    return std::nullopt;
  }
  return fmt::format("cuBLASLt has no {}", activation_name(*p.activation));
}

}  // namespace

std::optional<std::string> dense_rejects(const ProductDesc& p) {
  if (!has_output(p.input, p.output)) {
    return fmt::format("{} inputs do not give {} results", dtype_name(p.input),
                       dtype_name(p.output));
  }
  if (auto reason = rejects_dimension(p, "n", p.n)) return reason;
  if (auto reason = rejects_dimension(p, "k", p.k)) return reason;
  return rejects_epilogue(p);
}

std::optional<std::string> dense_rejects(const ProductDesc& p, const DeviceProperties& device) {
  const int needed = p.input == DType::kF8E4M3 ? kFirstE4m3Capability
                     : p.input == DType::kBF16 ? kFirstBf16Capability
                                               : 0;
  if (device.capability() < needed) {
    return fmt::format("{} has compute capability {}.{}, products in {} need {}.{} or later",
                       device.name, device.major, device.minor, dtype_name(p.input), needed / 10,
                       needed % 10);
  }
  return dense_rejects(p);
}

ProductDesc dense_part(const ProductDesc& p) {
  if (p.input != DType::kI8 || (p.output != DType::kF16 && p.output != DType::kBF16)) return p;
  return {p.n, p.k, p.input, DType::kI32, std::nullopt, nullptr, false};
}

MatrixLayout dense_weight_layout(const ProductDesc& p) {
  return {p.k, p.n, p.k, p.input, Order::kColumn};
}

MatrixLayout dense_input_layout(const ProductDesc& p, int64_t rows) {
  return {p.k, rows, p.k, p.input, Order::kColumn};
}

MatrixLayout dense_output_layout(const ProductDesc& p, int64_t rows) {
  return {p.n, rows, p.n, p.output, Order::kColumn};
}

DType dense_scale_type(const ProductDesc& p) {
  return p.output == DType::kI32 ? DType::kI32 : DType::kF32;
}

}  // namespace twofour::cuda
