// Dense row-major tensors in host memory: a view of somebody's bytes, and an owner.
#pragma once

#include <cstddef>
#include <span>

#include "twofour/base/aligned_buffer.h"
#include "twofour/base/dtype.h"
#include "twofour/base/shape.h"

namespace twofour {

struct TensorView {
  DType dtype = DType::kF32;
  Shape shape{0};
  const std::byte* data = nullptr;

  size_t bytes() const { return static_cast<size_t>(shape.numel()) * dtype_bytes(dtype); }

  // The caller asserts the type and the alignment (safetensors files may be unaligned; see to_f32).
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data), static_cast<size_t>(shape.numel())};
  }
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // uninitialized

  // A copy of `view`.
  explicit Tensor(const TensorView& view);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t numel() const { return shape_.numel(); }
  size_t bytes() const { return buffer_.size(); }
  std::byte* data() { return buffer_.data(); }
  const std::byte* data() const { return buffer_.data(); }
  TensorView view() const { return {dtype_, shape_, buffer_.data()}; }
  operator TensorView() const { return view(); }

  template <class T>
  std::span<T> as() {
    return {buffer_.as<T>(), static_cast<size_t>(numel())};
  }
  template <class T>
  std::span<const T> as() const {
    return {buffer_.as<T>(), static_cast<size_t>(numel())};
  }

 private:
  DType dtype_ = DType::kF32;
  Shape shape_{0};
  AlignedBuffer buffer_;
};

// A float32 copy of an F32, F16, BF16 or F64 tensor. Throws Error for other types; `name` goes into
// the message.
Tensor to_f32(const TensorView& view, std::string_view name);

}  // namespace twofour
