// What the loops of elementwise.h compute, by LibTorch's operators: for tensors that are not in
// host memory.
//
// An operator is a pass over memory where the loops make one of several, but all of them round as
// the loops do: the results have the same bits, but for the sign of zeros outside a mask. Dropout
// alone draws other numbers than its loop, and on a GPU others than on a CPU.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace twofour::aten_forms {

// Whether `x` goes this way.
bool needed(const at::Tensor& x);

// While one exists, tensors in host memory go this way too: for tests.
class Everywhere {
 public:
  Everywhere();
  ~Everywhere();
  Everywhere(const Everywhere&) = delete;
  Everywhere& operator=(const Everywhere&) = delete;
};

// `scale` is f32, [] or [rows, 1], and on the device of `x`; `type` is f32 or bf16.
at::Tensor quantize_dequantize(const at::Tensor& x, const at::Tensor& scale, int64_t qmax,
                               at::ScalarType type);

// In the type of `x`.
at::Tensor clip_gradient(const at::Tensor& x, float limit, const at::Tensor& dy);

// scale_from_amax of the rows of w [rows, cols], as [rows, 1]. Where a row is not finite its scale
// is not either, and quantize_dequantize makes NaN of the row: an Error would make the host wait
// for the device.
at::Tensor row_scales(const at::Tensor& w, int64_t qmax);

// Zero with probability p, else x / (1 - p). The same seed gives the same places on one device.
at::Tensor dropout(const at::Tensor& x, uint64_t seed, double p);

// values = mask ? values : 0; what goes is added to `removed` if that is defined.
void zero_outside(const at::Tensor& mask, const at::Tensor& values, const at::Tensor& removed);

// Whether a value outside the mask is not zero. Waits for the device.
bool any_outside(const at::Tensor& mask, const at::Tensor& values);

}  // namespace twofour::aten_forms
