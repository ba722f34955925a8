// What attention in f32, bf16 and int8 shares: tiles, the softmax that goes on from block to block,
// output. For files compiled with an instruction set's flags: everything here has internal linkage.
#pragma once

#include <algorithm>

#include "twofour/backend/cpu/vector_math.h"
#include "twofour/backend/cpu/vector_tables.h"

namespace twofour {
namespace {

// Tiles of accumulators that fit the registers: keys x vectors of queries for the scores, queries x
// vectors of dimensions for the output.
#if defined(__AVX512F__)
constexpr int kQueryVectors = 2, kKeyTile = 8, kRowTile = 8, kDimVectors = 2;
#else
constexpr int kQueryVectors = 1, kKeyTile = 4, kRowTile = 4, kDimVectors = 1;
#endif
constexpr int kQueries = kQueryVectors * kVector;
static_assert(kQueries <= kAttentionQueries && kQueries % kRowTile == 0);

constexpr float kLowest = -3.0e38f;

// A block of queries: its scores, and its output so far.
struct QueryBlock {
  int64_t width;  // head_dim in whole vectors
  float* scores;  // [kAttentionKeys, kQueries]
  float* out;     // [kQueries, width]
  // [kQueries] each: of the scores so far; what the last block of keys did to older sums.
  float *largest, *sum, *factor;
};

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

#if defined(__AVX512F__)
// Lanes of the lower or the upper halves of a and b in turns.
TWOFOUR_INLINE F32x16 zip_low(const F32x16& a, const F32x16& b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TWOFOUR_INLINE F32x16 zip_high(const F32x16& a, const F32x16& b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}

TWOFOUR_INLINE void transpose(F32x16 (&m)[kVector]) {
#pragma GCC unroll 4
  for (int stage = 0; stage < 4; ++stage) {
    F32x16 t[kVector];
#pragma GCC unroll 8
    for (int i = 0; i < kVector / 2; ++i) {
      t[2 * i] = zip_low(m[i], m[i + kVector / 2]);
      t[2 * i + 1] = zip_high(m[i], m[i + kVector / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kVector; ++i) m[i] = t[i];
  }
}
#else
TWOFOUR_INLINE void transpose(F32x16 (&m)[kVector]) {
  float rows[kVector][kVector], columns[kVector][kVector];
  for (int i = 0; i < kVector; ++i) store(rows[i], m[i]);
  for (int i = 0; i < kVector; ++i) {
    for (int j = 0; j < kVector; ++j) columns[j][i] = rows[i][j];
  }
  for (int i = 0; i < kVector; ++i) m[i] = load(columns[i]);
}
#endif

inline void begin_block(const QueryBlock& b) {
  for (int v = 0; v < kQueryVectors; ++v) {
    store(b.largest + v * kVector, splat(kLowest));
    store(b.sum + v * kVector, F32x16{});
  }
}

// Takes the largest scores of a block; returns the sum of the earlier weights relative to them.
TWOFOUR_INLINE F32x16 begin_sum(const QueryBlock& b, int v, const F32x16& top) {
  const F32x16 factor = exp2(at_least(load(b.largest + v * kVector) - top, -126.0f));
  store(b.largest + v * kVector, top);
  store(b.factor + v * kVector, factor);
  return load(b.sum + v * kVector) * factor;
}

// The output so far, relative to the new largest scores.
template <int D>
TWOFOUR_INLINE void load_output(const QueryBlock& b, bool first_block, int64_t i, int64_t d,
                                F32x16 (&sum)[kRowTile][D]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRowTile; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < D; ++c) {
      const float* out = b.out + (i + r) * b.width + d + c * kVector;
      sum[r][c] = first_block ? F32x16{} : load(out) * b.factor[i + r];
    }
  }
}

template <int D>
TWOFOUR_INLINE void store_output(const QueryBlock& b, int64_t i, int64_t d,
                                 const F32x16 (&sum)[kRowTile][D]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRowTile; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < D; ++c) store(b.out + (i + r) * b.width + d + c * kVector, sum[r][c]);
  }
}

// finish(x, d) makes the output of 16 weighted means of values from dimension d on.
template <class Finish>
TWOFOUR_INLINE void store_rows(const AttentionArgs& args, const QueryBlock& b, int64_t first,
                               int64_t count, Finish finish) {
  const Quantizer quantizer(args.output_scale);
  for (int64_t i = 0; i < count; ++i) {
    const float inverse = 1.0f / b.sum[i];
    for (int64_t d = 0; d < args.head_dim; d += kVector) {
      const int64_t lanes = std::min<int64_t>(kVector, args.head_dim - d);
      const F32x16 x = finish(load(b.out + i * b.width + d) * inverse, d);
      const int64_t at = (first + i) * args.out_stride + d;
      if (args.out != nullptr) store_lanes(args.out + at, lanes, x);
      if (args.quantized != nullptr) store_lanes(args.quantized + at, lanes, quantizer(x));
    }
  }
}

inline void store_rows(const AttentionArgs& args, const QueryBlock& b, int64_t first,
                       int64_t count) {
  store_rows(args, b, first, count, [](const F32x16& x, int64_t) TWOFOUR_LAMBDA { return x; });
}

}  // namespace
}  // namespace twofour
