// Symmetric quantization: s = amax / qmax, q = clamp(round_half_even(x / s), -qmax, qmax), qmax =
// 2^(bits-1) - 1.
//
// Narrow range everywhere (never -128): kernels rely on it for activations; weights of others may
// be -128. Arithmetic is f32: inverse scale is not used, x / s is. Infinities clamp, NaN becomes 0.
// The processor must round to nearest even, as it does unless a program changes it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "twofour/base/tensor.h"

namespace twofour {

struct QuantScheme {
  enum class Granularity { kPerTensor, kPerToken, kPerChannel };
  int bits = 8;  // 2..8
  bool zero_point = false;
  bool dynamic = false;  // scale found at run time
  Granularity granularity = Granularity::kPerTensor;

  int qmax() const { return (1 << (bits - 1)) - 1; }
  std::string to_string() const;  // "int8 symmetric static per-tensor"
  bool operator==(const QuantScheme&) const = default;
};

// amax / qmax, at least the smallest normal float, so that division stays defined for amax 0.
// Throws Error unless amax is finite and >= 0 and bits in 2..8.
float scale_from_amax(float amax, int bits = 8);

// `scale` > 0 and `bits` in 2..8 are the caller's to ensure.
int8_t quantize_value(float x, float scale, int bits = 8);

// Per tensor: one scale. `out` as long as `x`. Throws Error if it is not, or unless scale is finite
// and > 0.
void quantize(std::span<const float> x, float scale, std::span<int8_t> out, int bits = 8);

// Per output channel (row), scale from the row's largest magnitude.
struct QuantizedWeight {
  Tensor values;  // I8 [n, k]
  Tensor scales;  // F32 [n, 1]
};
// Throws Error if the weight is no F32 matrix or holds a value that is not finite (with its
// position).
QuantizedWeight quantize_weight(const TensorView& weight /* F32 [n, k] */, int bits = 8);
Tensor dequantize_weight(const QuantizedWeight& weight);

}  // namespace twofour
