// Elementwise functions and LayerNorm; included once by each file that makes a table of VectorOps.
#pragma once

#include <algorithm>
#include <limits>

#include "twofour/backend/cpu/vector_math.h"
#include "twofour/backend/cpu/vector_tables.h"

namespace twofour {
namespace {

// Calls body(offset, lanes) for each vector of a row.
template <class Body>
TWOFOUR_INLINE void for_each_vector(int64_t width, Body body) {
  int64_t i = 0;
  for (; i + kVector <= width; i += kVector) body(i, int64_t{kVector});
  if (i < width) body(i, width - i);
}

void quantize(const float* x, int64_t count, float scale, float offset, int8_t* out) {
  const Quantizer quantizer(scale, offset);
  for_each_vector(count, [=](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    store_lanes(out + i, lanes, quantizer(load_lanes(x + i, lanes)));
  });
}

float largest_magnitude(const float* x, int64_t count) {
  F32x16 largest{};
  for_each_vector(count, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    largest = larger(absolute(load_lanes(x + i, lanes)), largest);
  });
  return max_lanes(largest);
}

float quantize_row(const float* x, int64_t count, int8_t* out) {
  const float scale =
      std::max(largest_magnitude(x, count) / 127.0f, std::numeric_limits<float>::min());
  quantize(x, count, scale, 0, out);
  return scale;
}

void scale_row(float* x, float scale, const float* bias, int64_t count) {
  for_each_vector(count, [=](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    F32x16 y = load_lanes(x + i, lanes) * scale;
    if (bias != nullptr) y += load_lanes(bias + i, lanes);
    store_lanes(x + i, lanes, y);
  });
}

void add(const float* a, const float* b, int64_t count, float* out) {
  for_each_vector(count, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    store_lanes(out + i, lanes, load_lanes(a + i, lanes) + load_lanes(b + i, lanes));
  });
}

// Lanes past the end of a row hold 0 and must not count as deviations.
TWOFOUR_INLINE float sum_of_squares(const float* x, int64_t width, float mean) {
  F32x16 total{};
  for_each_vector(width, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    F32x16 deviation = load_lanes(x + i, lanes) - mean;
    if (lanes < kVector) deviation = load_some(reinterpret_cast<const float*>(&deviation), lanes);
    total += deviation * deviation;
  });
  return sum_lanes(total);
}

void layer_norm(const float* a, const float* b, const float* gamma, const float* beta,
                int64_t width, float epsilon, float* out, int8_t* quantized, float output_scale) {
  F32x16 total{};
  for_each_vector(width, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    F32x16 x = load_lanes(a + i, lanes);
    if (b != nullptr) x += load_lanes(b + i, lanes);
    total += x;
    store_lanes(out + i, lanes, x);
  });
  const auto count = static_cast<float>(width);
  const float mean = sum_lanes(total) / count;
  const float deviation = __builtin_sqrtf(sum_of_squares(out, width, mean) / count + epsilon);
  const float inverse = 1.0f / deviation;
  const Quantizer quantizer(output_scale);
  for_each_vector(width, [=](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    const F32x16 normal = (load_lanes(out + i, lanes) - mean) * inverse;
    const F32x16 y = normal * load_lanes(gamma + i, lanes) + load_lanes(beta + i, lanes);
    store_lanes(out + i, lanes, y);
    if (quantized != nullptr) store_lanes(quantized + i, lanes, quantizer(y));
  });
}

constexpr VectorOps make_vector_ops(std::string_view name,
                                    void (*attention)(const AttentionArgs&)) {
  return {name, activate, quantize, quantize_row, scale_row, layer_norm, add, attention};
}

}  // namespace
}  // namespace twofour
