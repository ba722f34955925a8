// Between the library's tensors and LibTorch's. Both are dense, row-major and in host memory.
#pragma once

#include <ATen/ATen.h>

#include "twofour/base/tensor.h"

namespace twofour {

at::ScalarType torch_type(DType dtype);
DType dtype_of(const at::Tensor& tensor);  // throws Error for types that files do not hold

// A copy of `view`, aligned or not.
at::Tensor to_torch(const TensorView& view);

// A view of `tensor`, which must be contiguous, on the CPU, and outlive the view. No copy: for
// writing files.
TensorView view_of(const at::Tensor& tensor);

}  // namespace twofour
