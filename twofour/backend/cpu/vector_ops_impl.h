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
  const int64_t whole = count / (kSeveral * kVector) * (kSeveral * kVector);
  for (int64_t i = 0; i < whole; i += kSeveral * kVector) {
    const auto q = quantizer(side_by_side<kSeveral>(
        [=](int part) TWOFOUR_LAMBDA { return load(x + i + part * kVector); }));
    for_each_index<kSeveral>([&](int part) TWOFOUR_LAMBDA {
      store_lanes(out + i + part * kVector, kVector, q.v[part]);
    });
  }
  for_each_vector(count - whole, [=](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    store_lanes(out + whole + i, lanes, quantizer(load_lanes(x + whole + i, lanes)));
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

// N rows side by side: the sums of one are a chain that leaves the processor idle.
template <int N>
TWOFOUR_INLINE void normalize_rows(const LayerNormRows& args, int64_t first) {
  const int64_t width = args.width, begin = first * width;
  float* out = args.out + begin;
  const auto load_rows = [=](const float* p, int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    return side_by_side<N>([=](int row)
                               TWOFOUR_LAMBDA { return load_lanes(p + row * width + i, lanes); });
  };
  Several<F32x16, N> total{};
  for_each_vector(width, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    auto x = load_rows(args.a + begin, i, lanes);
    if (args.b != nullptr) x = x + load_rows(args.b + begin, i, lanes);
    total = total + x;
    for_each_index<N>([&](int row)
                          TWOFOUR_LAMBDA { store_lanes(out + row * width + i, lanes, x.v[row]); });
  });
  const auto count = static_cast<float>(width);
  Several<float, N> mean, inverse;
  for_each_index<N>([&](int row) TWOFOUR_LAMBDA { mean.v[row] = sum_lanes(total.v[row]) / count; });
  const auto centre = [=](const Several<F32x16, N>& x) TWOFOUR_LAMBDA {
    return side_by_side<N>([&](int row) TWOFOUR_LAMBDA { return x.v[row] - mean.v[row]; });
  };
  Several<F32x16, N> squares{};
  for_each_vector(width, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    auto deviation = centre(load_rows(out, i, lanes));
    if (lanes < kVector) {  // lanes past the end hold 0, which is no deviation
      for_each_index<N>([&](int row) TWOFOUR_LAMBDA {
        const F32x16 all = deviation.v[row];
        deviation.v[row] = load_some(reinterpret_cast<const float*>(&all), lanes);
      });
    }
    squares = squares + deviation * deviation;
  });
  for_each_index<N>([&](int row) TWOFOUR_LAMBDA {
    inverse.v[row] = 1.0f / __builtin_sqrtf(sum_lanes(squares.v[row]) / count + args.epsilon);
  });
  const Quantizer quantizer(args.output_scale);
  for_each_vector(width, [&](int64_t i, int64_t lanes) TWOFOUR_LAMBDA {
    const F32x16 gamma = load_lanes(args.gamma + i, lanes), beta = load_lanes(args.beta + i, lanes);
    const auto centred = centre(load_rows(out, i, lanes));
    const auto y = side_by_side<N>(
        [&](int row) TWOFOUR_LAMBDA { return centred.v[row] * inverse.v[row] * gamma + beta; });
    for_each_index<N>([&](int row)
                          TWOFOUR_LAMBDA { store_lanes(out + row * width + i, lanes, y.v[row]); });
    if (args.quantized == nullptr) return;
    const auto q = quantizer(y);
    for_each_index<N>([&](int row) TWOFOUR_LAMBDA {
      store_lanes(args.quantized + begin + row * width + i, lanes, q.v[row]);
    });
  });
}

void layer_norm(const LayerNormRows& args) {
  int64_t row = 0;
  for (; row + kSeveral <= args.rows; row += kSeveral) normalize_rows<kSeveral>(args, row);
  for (; row < args.rows; ++row) normalize_rows<1>(args, row);
}

constexpr VectorOps make_vector_ops(std::string_view name,
                                    void (*attention)(const AttentionArgs&)) {
  return {name, activate, quantize, quantize_row, scale_row, layer_norm, add, attention};
}

}  // namespace
}  // namespace twofour
