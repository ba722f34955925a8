// The plain product on the host: what every device kernel is compared with.
#pragma once

#include <cstdint>
#include <optional>

#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// Host memory, without gaps between rows.
struct ReferenceProduct {
  int64_t m = 0, n = 0, k = 0;
  DType input = DType::kF16;     // of x and W: kF32, kF16, kBF16, kF8E4M3, kI8
  DType output = DType::kF16;    // kF32, kF16, kBF16, kI8 or kI32
  const void* x = nullptr;       // [m, k]
  const void* weight = nullptr;  // [n, k]
  float alpha = 1;
  const float* scales = nullptr;  // [n], multiplied by alpha; null: 1
  const float* bias = nullptr;    // [n] or null
  std::optional<ActivationKind> activation;
  float output_scale = 1;  // kI8: y is quantize() of the result with it
  void* y = nullptr;       // [m, n]
};

// y = activation(alpha * scales * x W^T + bias). int8 sums are exact, and the rest is then
// dequantize_sum(), the engine's activation and quantize(), bit for bit. Float sums are made in
// double and rounded to float. kI32 results are the sums alone. Throws Error for other types.
void reference_product(const ReferenceProduct& product);

// One element as a number; `at` is counted in elements.
double element(DType type, const void* data, int64_t at);

}  // namespace twofour::cuda
