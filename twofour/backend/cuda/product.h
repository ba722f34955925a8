// A 2:4 product as cuSPARSELt sees it: what it computes, and what it cannot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// y = activation(scale * x W^T + bias), W [n, k] 2:4 along k.
struct ProductDesc {
  int64_t n = 0, k = 0;
  DType input = DType::kF16;   // of x and W: kF16, kBF16, kI8, kF8E4M3
  DType output = DType::kF16;  // of y
  // kRelu, or kGeluTanh where int8 becomes int8; any other is a kernel's of our own.
  std::optional<ActivationKind> activation;
  const void* bias = nullptr;   // [n] of bias_type() on the device, or null; a plan is bound to it
  bool channel_scales = false;  // scale is a vector [n] on the device, not one number

  auto operator<=>(const ProductDesc&) const = default;  // NOLINT(modernize-use-nullptr)

  DType sum() const { return input == DType::kI8 ? DType::kI32 : DType::kF32; }
  std::string to_string() const;  // "I8 [3072, 768] -> F16"
};

// n and k must be multiples of this: 32 bytes of the structured operand; 0 for a type that has no
// 2:4 products. F32 is such a one: its hardware pattern is 1:2.
int64_t dimension_multiple(DType input);

// Rows of x in a product must be a multiple of this, whatever the type.
constexpr int64_t kRowMultiple = 16;

// Why no device computes it; nothing where one may. The caller falls back to a dense product.
std::optional<std::string> rejects(const ProductDesc& product);

// The same, with what this device lacks.
std::optional<std::string> rejects(const ProductDesc& product, const DeviceProperties& device);

// Of the vector that the product adds: F32 where the inputs are I8, else that of y.
DType bias_type(const ProductDesc& product);

MatrixLayout weight_layout(const ProductDesc& product);
MatrixLayout input_layout(const ProductDesc& product, int64_t rows);
MatrixLayout output_layout(const ProductDesc& product, int64_t rows);

}  // namespace twofour::cuda
