#include "twofour/base/tensor.h"

#include <fmt/format.h>

#include <cstring>

#include "twofour/base/error.h"

namespace twofour {

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype),
      shape_(std::move(shape)),
      buffer_(static_cast<size_t>(shape_.numel()) * dtype_bytes(dtype)) {}

Tensor::Tensor(const TensorView& view) : Tensor(view.dtype, view.shape) {
  if (bytes() != 0) std::memcpy(data(), view.data, bytes());
}

namespace {

// memcpy per element: the source may be unaligned.
template <class Source, class Convert>
void convert(const TensorView& view, Tensor& out, Convert to_float) {
  auto values = out.as<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    Source element;
    std::memcpy(&element, view.data + i * sizeof(Source), sizeof(Source));
    values[i] = to_float(element);
  }
}

}  // namespace

Tensor to_f32(const TensorView& view, std::string_view name) {
  Tensor out(DType::kF32, view.shape);
  switch (view.dtype) {
    case DType::kF32:
      if (out.bytes() != 0) std::memcpy(out.data(), view.data, out.bytes());
      return out;
    case DType::kF16:
      convert<uint16_t>(view, out, f16_to_f32);
      return out;
    case DType::kBF16:
      convert<uint16_t>(view, out, bf16_to_f32);
      return out;
    case DType::kF64:
      convert<double>(view, out, [](double value) { return static_cast<float>(value); });
      return out;
    default:
      throw Error(name, fmt::format("expected a float tensor, found {}", dtype_name(view.dtype)));
  }
}

}  // namespace twofour
