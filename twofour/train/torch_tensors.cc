#include "twofour/train/torch_tensors.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr std::array<std::pair<DType, at::ScalarType>, 11> kTypes = {{
    {DType::kBool, at::kBool},
    {DType::kU8, at::kByte},
    {DType::kI8, at::kChar},
    {DType::kI16, at::kShort},
    {DType::kI32, at::kInt},
    {DType::kI64, at::kLong},
    {DType::kF8E4M3, at::kFloat8_e4m3fn},
    {DType::kF16, at::kHalf},
    {DType::kBF16, at::kBFloat16},
    {DType::kF32, at::kFloat},
    {DType::kF64, at::kDouble},
}};

Shape shape_of(const at::Tensor& tensor) { return Shape(tensor.sizes().vec()); }

}  // namespace

at::ScalarType torch_type(DType dtype) {
  for (const auto& [ours, theirs] : kTypes) {
    if (ours == dtype) return theirs;
  }
  throw Error("torch_type", fmt::format("{} has no LibTorch type", dtype_name(dtype)));
}

DType dtype_of(const at::Tensor& tensor) {
  for (const auto& [ours, theirs] : kTypes) {
    if (theirs == tensor.scalar_type()) return ours;
  }
  throw Error("dtype_of", fmt::format("a tensor of type {} cannot be stored",
                                      at::toString(tensor.scalar_type())));
}

at::Tensor to_torch(const TensorView& view) {
  at::Tensor tensor = at::empty(view.shape.dims(), torch_type(view.dtype));
  if (view.bytes() > 0) std::memcpy(tensor.mutable_data_ptr(), view.data, view.bytes());
  return tensor;
}

TensorView view_of(const at::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.device().is_cpu()) {
    throw Error("view_of", fmt::format("a tensor {} is not contiguous in host memory",
                                       shape_of(tensor).to_string()));
  }
  return {dtype_of(tensor), shape_of(tensor),
          static_cast<const std::byte*>(tensor.const_data_ptr())};
}

}  // namespace twofour
