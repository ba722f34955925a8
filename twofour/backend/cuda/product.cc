#include "twofour/backend/cuda/product.h"

#include <fmt/format.h>

namespace twofour::cuda {
namespace {

constexpr int kFirstSparseCapability = 80;
constexpr int kFirstE4m3Capability = 89;

bool has_output(DType input, DType output) {
  switch (input) {
    case DType::kF16:
    case DType::kBF16:
      return output == input;
    case DType::kI8:
      return output == DType::kI8 || output == DType::kI32 || output == DType::kF16 ||
             output == DType::kBF16;
    case DType::kF8E4M3:
      return output == DType::kF16 || output == DType::kBF16 || output == DType::kF32;
    default:
      return false;
  }
}

std::optional<std::string> rejects_types(const ProductDesc& p) {
  if (p.input == DType::kF32)
    return "F32 products have a 1:2 pattern on the hardware, not 2:4: run them dense";
  if (dimension_multiple(p.input) == 0) {
    return fmt::format("{} is no type of a 2:4 product, expected F16, BF16, I8 or F8_E4M3",
                       dtype_name(p.input));
  }
  if (!has_output(p.input, p.output)) {
    return fmt::format("{} inputs do not give {} results", dtype_name(p.input),
                       dtype_name(p.output));
  }
  return std::nullopt;
}

std::optional<std::string> rejects_dimension(const ProductDesc& p, std::string_view name,
                                             int64_t value) {
  const int64_t multiple = dimension_multiple(p.input);
  if (value > 0 && value % multiple == 0) return std::nullopt;
  return fmt::format("{} is {}, expected a multiple of {} for {}", name, value, multiple,
                     dtype_name(p.input));
}

std::optional<std::string> rejects_activation(const ProductDesc& p) {
  if (!p.activation || *p.activation == ActivationKind::kRelu) return std::nullopt;
  if (*p.activation == ActivationKind::kGeluTanh) {
    if (p.input == DType::kI8 && p.output == DType::kI8) return std::nullopt;
    return fmt::format("{} follows only products from I8 to I8", activation_name(*p.activation));
  }
  return fmt::format("cuSPARSELt has no {}", activation_name(*p.activation));
}

}  // namespace

std::string ProductDesc::to_string() const {
  return fmt::format("{} [{}, {}] -> {}", dtype_name(input), n, k, dtype_name(output));
}

int64_t dimension_multiple(DType input) {
  switch (input) {
    case DType::kF16:
    case DType::kBF16:
    case DType::kI8:
    case DType::kF8E4M3:
      return 32 / static_cast<int64_t>(dtype_bytes(input));
    default:
      return 0;
  }
}

std::optional<std::string> rejects(const ProductDesc& product) {
  if (auto reason = rejects_types(product)) return reason;
  if (auto reason = rejects_dimension(product, "n", product.n)) return reason;
  if (auto reason = rejects_dimension(product, "k", product.k)) return reason;
  return rejects_activation(product);
}

std::optional<std::string> rejects(const ProductDesc& product, const DeviceProperties& device) {
  const bool e4m3 = product.input == DType::kF8E4M3;
  const int needed = e4m3 ? kFirstE4m3Capability : kFirstSparseCapability;
  if (device.capability() < needed) {
    return fmt::format("{} has compute capability {}.{}, 2:4 products in {} need {}.{} or later",
                       device.name, device.major, device.minor, dtype_name(product.input),
                       needed / 10, needed % 10);
  }
  return rejects(product);
}

DType bias_type(const ProductDesc& product) {
  return product.input == DType::kI8 ? DType::kF32 : product.output;
}

MatrixLayout weight_layout(const ProductDesc& p) { return {p.n, p.k, p.k, p.input, Order::kRow}; }

MatrixLayout input_layout(const ProductDesc& p, int64_t rows) {
  return {rows, p.k, p.k, p.input, Order::kRow};
}

MatrixLayout output_layout(const ProductDesc& p, int64_t rows) {
  return {p.n, rows, p.n, p.output, Order::kColumn};
}

}  // namespace twofour::cuda
