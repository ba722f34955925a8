#include "twofour/quant/quantize.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "twofour/base/error.h"

namespace twofour {
namespace {

void check_bits(std::string_view where, int bits) {
  if (bits < 2 || bits > 8) throw Error(where, fmt::format("bits is {}, expected 2 to 8", bits));
}

// Clamping first leaves the result as it is, since the limits are integers, and bounds the value,
// so that adding 1.5 * 2^23 rounds it to an integer, half to even, in two instructions that every
// compiler vectorizes.
int8_t quantize_clamped(float x, float scale, float qmax) {
  constexpr float kRound = 12582912.0f;
  const float ratio = x / scale;
  const float low = ratio > -qmax ? ratio : -qmax;
  const float clamped = low < qmax ? low : qmax;
  const float rounded = (clamped + kRound) - kRound;
  // The product makes NaN 0; a conditional would keep the loop scalar.
  return static_cast<int8_t>(static_cast<int32_t>(rounded) * (ratio == ratio));
}

float largest_magnitude(std::span<const float> row, int64_t row_index) {
  float largest = 0;
  for (size_t k = 0; k < row.size(); ++k) {
    if (!std::isfinite(row[k])) {
      throw Error(
          "quantize_weight",
          fmt::format("weight at [{}, {}] is {}, expected a finite value", row_index, k, row[k]));
    }
    largest = std::max(largest, std::fabs(row[k]));
  }
  return largest;
}

}  // namespace

std::string QuantScheme::to_string() const {
  constexpr std::string_view kGranularity[] = {"per-tensor", "per-token", "per-channel"};
  return fmt::format("int{} {} {} {}", bits, zero_point ? "asymmetric" : "symmetric",
                     dynamic ? "dynamic" : "static", kGranularity[static_cast<int>(granularity)]);
}

float scale_from_amax(float amax, int bits) {
  check_bits("scale_from_amax", bits);
  if (!(amax >= 0 && std::isfinite(amax))) {
    throw Error("scale_from_amax", fmt::format("amax is {}, expected a finite value >= 0", amax));
  }
  const float qmax = static_cast<float>((1 << (bits - 1)) - 1);
  return std::max(amax / qmax, std::numeric_limits<float>::min());
}

int8_t quantize_value(float x, float scale, int bits) {
  return quantize_clamped(x, scale, static_cast<float>((1 << (bits - 1)) - 1));
}

void quantize(std::span<const float> x, float scale, std::span<int8_t> out, int bits) {
  check_bits("quantize", bits);
  if (!(scale > 0 && std::isfinite(scale))) {
    throw Error("quantize", fmt::format("scale is {}, expected a finite value > 0", scale));
  }
  if (x.size() != out.size()) {
    throw Error("quantize", fmt::format("{} values but room for {}", x.size(), out.size()));
  }
  const float qmax = static_cast<float>((1 << (bits - 1)) - 1);
  for (size_t i = 0; i < x.size(); ++i) out[i] = quantize_clamped(x[i], scale, qmax);
}

QuantizedWeight quantize_weight(const TensorView& weight, int bits) {
  check_bits("quantize_weight", bits);
  if (weight.dtype != DType::kF32 || weight.shape.rank() != 2) {
    throw Error("quantize_weight", fmt::format("expected an F32 matrix, found {} {}",
                                               dtype_name(weight.dtype), weight.shape.to_string()));
  }
  const int64_t n = weight.shape[0], k = weight.shape[1];
  const Tensor aligned = to_f32(weight, "quantize_weight");
  QuantizedWeight out{Tensor(DType::kI8, {n, k}), Tensor(DType::kF32, {n, 1})};
  for (int64_t row = 0; row < n; ++row) {
    const auto values = aligned.as<float>().subspan(row * k, k);
    const float scale = scale_from_amax(largest_magnitude(values, row), bits);
    out.scales.as<float>()[row] = scale;
    quantize(values, scale, out.values.as<int8_t>().subspan(row * k, k), bits);
  }
  return out;
}

Tensor dequantize_weight(const QuantizedWeight& weight) {
  const Shape& shape = weight.values.shape();
  if (shape.rank() != 2 || weight.values.dtype() != DType::kI8 ||
      weight.scales.dtype() != DType::kF32 || weight.scales.shape() != Shape{shape[0], 1}) {
    throw Error("dequantize_weight",
                fmt::format("expected I8 [n, k] with F32 [n, 1], found {} {} with {} {}",
                            dtype_name(weight.values.dtype()), shape.to_string(),
                            dtype_name(weight.scales.dtype()), weight.scales.shape().to_string()));
  }
  Tensor out(DType::kF32, shape);
  const auto values = weight.values.as<int8_t>();
  auto dense = out.as<float>();
  for (int64_t row = 0; row < shape[0]; ++row) {
    const float scale = weight.scales.as<float>()[row];
    for (int64_t i = row * shape[1]; i < (row + 1) * shape[1]; ++i) {
      dense[i] = static_cast<float>(values[i]) * scale;
    }
  }
  return out;
}

}  // namespace twofour
