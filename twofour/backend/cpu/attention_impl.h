// Attention of one head; included once by each file that compiles it for an instruction set.
//
// A block of queries meets a block of keys at a time, so that no more scores than those are ever
// held; maximum and sum of the softmax are carried from block to block. Source: Milakov and
// Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135. Lanes are queries for the
// scores, so that the softmax needs no sum across lanes, and head dimensions for the output.
#pragma once

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

struct Head {
  const float* v;  // rows of whole vectors
  int64_t v_stride;
  int64_t width;  // head_dim in whole vectors
  float* copied_v;
  float* q;       // [head_dim, kQueries], times log2(e) / sqrt(head_dim)
  float* scores;  // [kAttentionKeys, kQueries]
  float* out;     // [kQueries, width]
  // [kQueries] each: of the scores so far; what the last block of keys did to older sums.
  float *largest, *sum, *factor;
};

Head lay_out(const AttentionArgs& args) {
  Head h;
  h.width = (args.head_dim + kVector - 1) / kVector * kVector;
  h.q = args.scratch;
  h.scores = h.q + args.head_dim * kQueries;
  h.out = h.scores + kAttentionKeys * kQueries;
  h.largest = h.out + kQueries * h.width;
  h.sum = h.largest + kQueries;
  h.factor = h.sum + kQueries;
  h.copied_v = h.factor + kQueries;
  h.v = args.v;
  h.v_stride = args.stride;
  return h;
}

// A last vector of dimensions must not read past its row.
void pad_values(const AttentionArgs& args, Head& h) {
  for (int64_t j = 0; j < args.length; ++j) {
    float* row = h.copied_v + j * h.width;
    std::memcpy(row, args.v + j * args.stride, args.head_dim * sizeof(float));
    for (int64_t d = args.head_dim; d < h.width; ++d) row[d] = 0.0f;
  }
  h.v = h.copied_v;
  h.v_stride = h.width;
}

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

// Queries [first, first + count) to h.q; lanes past them hold 0.
void load_queries(const AttentionArgs& args, const Head& h, int64_t first, int64_t count) {
  const float scale = 1.44269504f / __builtin_sqrtf(static_cast<float>(args.head_dim));
  for (int64_t d = 0; d < args.head_dim; d += kVector) {
    const int64_t dims = args.head_dim - d < kVector ? args.head_dim - d : kVector;
    for (int64_t i0 = 0; i0 < kQueries; i0 += kVector) {
      F32x16 m[kVector];
      for (int i = 0; i < kVector; ++i) {
        const float* row = args.q + (first + i0 + i) * args.stride + d;
        m[i] = i0 + i >= count ? F32x16{} : dims == kVector ? load(row) : load_some(row, dims);
        m[i] *= scale;
      }
      transpose(m);
      for (int64_t i = 0; i < dims; ++i) store(h.q + (d + i) * kQueries + i0, m[i]);
    }
  }
}

// Scores of K keys, and their maximum.
template <int K>
TWOFOUR_INLINE void score_keys(const AttentionArgs& args, const Head& h, const float* k,
                               float* scores, F32x16 (&top)[kQueryVectors]) {
  F32x16 sum[K][kQueryVectors] = {};
  for (int64_t d = 0; d < args.head_dim; ++d) {
    F32x16 q[kQueryVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kQueryVectors; ++v) q[v] = load(h.q + d * kQueries + v * kVector);
#pragma GCC unroll 8
    for (int j = 0; j < K; ++j) {
      const F32x16 key = splat(k[j * args.stride + d]);
#pragma GCC unroll 2
      for (int v = 0; v < kQueryVectors; ++v) sum[j][v] = fma(key, q[v], sum[j][v]);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < K; ++j) {
#pragma GCC unroll 2
    for (int v = 0; v < kQueryVectors; ++v) {
      top[v] = larger(top[v], sum[j][v]);
      store(scores + j * kQueries + v * kVector, sum[j][v]);
    }
  }
}

// Scores of keys [first, first + count) to powers of 2 relative to the largest one so far.
void softmax_block(const AttentionArgs& args, const Head& h, int64_t first, int64_t count) {
  F32x16 top[kQueryVectors];
  for (int v = 0; v < kQueryVectors; ++v) top[v] = load(h.largest + v * kVector);
  int64_t j = 0;
  const float* k = args.k + first * args.stride;
  for (; j + kKeyTile <= count; j += kKeyTile)
    score_keys<kKeyTile>(args, h, k + j * args.stride, h.scores + j * kQueries, top);
  for (; j < count; ++j) score_keys<1>(args, h, k + j * args.stride, h.scores + j * kQueries, top);

  for (int v = 0; v < kQueryVectors; ++v) {
    const F32x16 factor = exp2(at_least(load(h.largest + v * kVector) - top[v], -126.0f));
    F32x16 total = load(h.sum + v * kVector) * factor;
    for (int64_t i = 0; i < count; ++i) {
      float* s = h.scores + i * kQueries + v * kVector;
      const F32x16 p = exp2(at_least(load(s) - top[v], -126.0f));
      store(s, p);
      total += p;
    }
    store(h.largest + v * kVector, top[v]);
    store(h.sum + v * kVector, total);
    store(h.factor + v * kVector, factor);
  }
}

// Adds the values of keys [first, first + count), each weighted, to D vectors of the output.
template <int D>
void weigh_values(const Head& h, int64_t first, int64_t count, int64_t d) {
  const float* values = h.v + first * h.v_stride + d;
  for (int64_t i = 0; i < kQueries; i += kRowTile) {
    F32x16 sum[kRowTile][D];
#pragma GCC unroll 8
    for (int r = 0; r < kRowTile; ++r) {
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c) {
        const float* out = h.out + (i + r) * h.width + d + c * kVector;
        sum[r][c] = first == 0 ? F32x16{} : load(out) * h.factor[i + r];
      }
    }
    for (int64_t j = 0; j < count; ++j) {
      F32x16 v[D];
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c) v[c] = load(values + j * h.v_stride + c * kVector);
#pragma GCC unroll 8
      for (int r = 0; r < kRowTile; ++r) {
        const F32x16 p = splat(h.scores[j * kQueries + i + r]);
#pragma GCC unroll 2
        for (int c = 0; c < D; ++c) sum[r][c] = fma(p, v[c], sum[r][c]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRowTile; ++r) {
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c) store(h.out + (i + r) * h.width + d + c * kVector, sum[r][c]);
    }
  }
}

void store_rows(const AttentionArgs& args, const Head& h, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float inverse = 1.0f / h.sum[i];
    for (int64_t d = 0; d < args.head_dim; d += kVector) {
      const int64_t lanes = args.head_dim - d < kVector ? args.head_dim - d : kVector;
      const F32x16 x = load(h.out + i * h.width + d) * inverse;
      const int64_t at = (first + i) * args.out_stride + d;
      if (args.out != nullptr) store_lanes(args.out + at, lanes, x);
      if (args.quantized == nullptr) continue;
      const I8x16 q = quantize16(x, args.output_scale);
      std::memcpy(args.quantized + at, &q, lanes);
    }
  }
}

void attend_block(const AttentionArgs& args, const Head& h, int64_t first, int64_t count) {
  load_queries(args, h, first, count);
  for (int v = 0; v < kQueryVectors; ++v) {
    store(h.largest + v * kVector, splat(kLowest));
    store(h.sum + v * kVector, F32x16{});
  }
  for (int64_t key = 0; key < args.length; key += kAttentionKeys) {
    const int64_t keys = args.length - key < kAttentionKeys ? args.length - key : kAttentionKeys;
    softmax_block(args, h, key, keys);
    int64_t d = 0;
    for (; d + kDimVectors * kVector <= h.width; d += kDimVectors * kVector)
      weigh_values<kDimVectors>(h, key, keys, d);
    for (; d < h.width; d += kVector) weigh_values<1>(h, key, keys, d);
  }
  store_rows(args, h, first, count);
}

void attend(const AttentionArgs& args) {
  Head h = lay_out(args);
  if (h.width != args.head_dim) pad_values(args, h);
  for (int64_t i = 0; i < args.length; i += kQueries)
    attend_block(args, h, i, args.length - i < kQueries ? args.length - i : kQueries);
}

}  // namespace
}  // namespace twofour
