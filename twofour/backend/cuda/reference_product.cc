#include "twofour/backend/cuda/reference_product.h"

#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "twofour/backend/matmul.h"
#include "twofour/backend/vector_ops.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

template <class T>
T load(const void* data, int64_t at) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + at * sizeof(T), sizeof value);
  return value;
}

template <class T>
void store(void* data, int64_t at, T value) {
  std::memcpy(static_cast<std::byte*>(data) + at * sizeof(T), &value, sizeof value);
}

int32_t integer_sum(const ReferenceProduct& p, int64_t row, int64_t column) {
  const int8_t* x = static_cast<const int8_t*>(p.x) + row * p.k;
  const int8_t* w = static_cast<const int8_t*>(p.weight) + column * p.k;
  int32_t sum = 0;
  for (int64_t i = 0; i < p.k; ++i) sum += x[i] * w[i];
  return sum;
}

float float_sum(const double* x, const double* w, int64_t k) {
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += x[i] * w[i];
  return static_cast<float>(sum);
}

std::vector<double> elements(DType type, const void* data, int64_t count) {
  std::vector<double> out(count);
  for (int64_t i = 0; i < count; ++i) out[i] = element(type, data, i);
  return out;
}

void store_row(const ReferenceProduct& p, int64_t row, const float* values) {
  const int64_t begin = row * p.n;
  switch (p.output) {
    case DType::kF32:
      for (int64_t i = 0; i < p.n; ++i) store(p.y, begin + i, values[i]);
      return;
    case DType::kF16:
      for (int64_t i = 0; i < p.n; ++i) store(p.y, begin + i, f32_to_f16(values[i]));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < p.n; ++i) store(p.y, begin + i, f32_to_bf16(values[i]));
      return;
    case DType::kI8:
      vector_ops().quantize(values, p.n, p.output_scale, 0, static_cast<int8_t*>(p.y) + begin);
      return;
    default:
      throw Error("reference_product",
                  fmt::format("the output is {}, expected F32, F16, BF16, I8 or I32",
                              dtype_name(p.output)));
  }
}

}  // namespace

double element(DType type, const void* data, int64_t at) {
  switch (type) {
    case DType::kF32:
      return load<float>(data, at);
    case DType::kF16:
      return f16_to_f32(load<uint16_t>(data, at));
    case DType::kBF16:
      return bf16_to_f32(load<uint16_t>(data, at));
    case DType::kF8E4M3:
      return e4m3_to_f32(load<uint8_t>(data, at));
    case DType::kI8:
      return load<int8_t>(data, at);
    case DType::kI32:
      return load<int32_t>(data, at);
    default:
      throw Error("reference_product", fmt::format("{} is no type of it", dtype_name(type)));
  }
}

void reference_product(const ReferenceProduct& p) {
  const bool integer = p.input == DType::kI8;
  if (p.output == DType::kI32 && !integer)
    throw Error("reference_product", "only I8 inputs give I32 results");
  std::vector<double> x;
  if (!integer) x = elements(p.input, p.x, p.m * p.k);
  std::vector<float> values(p.output == DType::kI32 ? 0 : p.m * p.n);
  // A column at a time, so that no more than one row of W is converted.
  for (int64_t column = 0; column < p.n; ++column) {
    const float scale = p.scales == nullptr ? 1.0f : p.scales[column];
    const float bias = p.bias == nullptr ? 0.0f : p.bias[column];
    std::vector<double> w;
    if (!integer) {
      const auto* row = static_cast<const std::byte*>(p.weight);
      w = elements(p.input, row + column * p.k * dtype_bytes(p.input), p.k);
    }
    for (int64_t row = 0; row < p.m; ++row) {
      const int64_t at = row * p.n + column;
      if (p.output == DType::kI32)
        store(p.y, at, integer_sum(p, row, column));
      else if (integer)
        values[at] = dequantize_sum(integer_sum(p, row, column), p.alpha, scale, bias);
      else
        values[at] = float_sum(x.data() + row * p.k, w.data(), p.k) * (p.alpha * scale) + bias;
    }
  }
  for (int64_t row = 0; row < p.m && p.output != DType::kI32; ++row) {
    float* finished = values.data() + row * p.n;
    if (p.activation) vector_ops().activate(*p.activation, finished, p.n);
    store_row(p, row, finished);
  }
}

}  // namespace twofour::cuda
