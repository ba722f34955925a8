// Attention of one head; included once by each file that compiles it for an instruction set.
//
// A block of queries meets a block of keys at a time, so that no more scores than those are ever
// held; maximum and sum of the softmax are carried from block to block. Source: Milakov and
// Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135. Lanes are queries for the
// scores, so that the softmax needs no sum across lanes, and head dimensions for the output.
#pragma once

#include "twofour/backend/cpu/attention_blocks.h"

namespace twofour {
namespace {

struct Head {
  const float* v;  // rows of whole vectors
  int64_t v_stride;
  float* copied_v;
  float* q;  // [head_dim, kQueries], times log2(e) / sqrt(head_dim)
  QueryBlock block;
};

Head lay_out(const AttentionArgs& args) {
  Head h;
  QueryBlock& b = h.block;
  b.width = (args.head_dim + kVector - 1) / kVector * kVector;
  h.q = args.scratch;
  b.scores = h.q + args.head_dim * kQueries;
  b.out = b.scores + kAttentionKeys * kQueries;
  b.largest = b.out + kQueries * b.width;
  b.sum = b.largest + kQueries;
  b.factor = b.sum + kQueries;
  h.copied_v = b.factor + kQueries;
  h.v = args.v;
  h.v_stride = args.stride;
  return h;
}

// A last vector of dimensions must not read past its row.
void pad_values(const AttentionArgs& args, Head& h) {
  for (int64_t j = 0; j < args.length; ++j) {
    float* row = h.copied_v + j * h.block.width;
    std::memcpy(row, args.v + j * args.stride, args.head_dim * sizeof(float));
    for (int64_t d = args.head_dim; d < h.block.width; ++d) row[d] = 0.0f;
  }
  h.v = h.copied_v;
  h.v_stride = h.block.width;
}

// Queries [first, first + count) to h.q; lanes past them hold 0.
void load_queries(const AttentionArgs& args, const Head& h, int64_t first, int64_t count) {
  const float scale = 1.44269504f / __builtin_sqrtf(static_cast<float>(args.head_dim));
  for (int64_t d = 0; d < args.head_dim; d += kVector) {
    const int64_t dims = std::min<int64_t>(kVector, args.head_dim - d);
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
  for (int v = 0; v < kQueryVectors; ++v) top[v] = load(h.block.largest + v * kVector);
  int64_t j = 0;
  const float* k = args.k + first * args.stride;
  for (; j + kKeyTile <= count; j += kKeyTile)
    score_keys<kKeyTile>(args, h, k + j * args.stride, h.block.scores + j * kQueries, top);
  for (; j < count; ++j)
    score_keys<1>(args, h, k + j * args.stride, h.block.scores + j * kQueries, top);

  for (int v = 0; v < kQueryVectors; ++v) {
    F32x16 total = begin_sum(h.block, v, top[v]);
    for (int64_t i = 0; i < count; ++i) {
      float* s = h.block.scores + i * kQueries + v * kVector;
      const F32x16 p = exp2(at_least(load(s) - top[v], -126.0f));
      store(s, p);
      total += p;
    }
    store(h.block.sum + v * kVector, total);
  }
}

// Adds the values of keys [first, first + count), each weighted, to D vectors of the output.
template <int D>
void weigh_values(const Head& h, int64_t first, int64_t count, int64_t d) {
  const float* values = h.v + first * h.v_stride + d;
  for (int64_t i = 0; i < kQueries; i += kRowTile) {
    F32x16 sum[kRowTile][D];
    load_output(h.block, first == 0, i, d, sum);
    for (int64_t j = 0; j < count; ++j) {
      F32x16 v[D];
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c) v[c] = load(values + j * h.v_stride + c * kVector);
#pragma GCC unroll 8
      for (int r = 0; r < kRowTile; ++r) {
        const F32x16 p = splat(h.block.scores[j * kQueries + i + r]);
#pragma GCC unroll 2
        for (int c = 0; c < D; ++c) sum[r][c] = fma(p, v[c], sum[r][c]);
      }
    }
    store_output(h.block, i, d, sum);
  }
}

void attend_block(const AttentionArgs& args, const Head& h, int64_t first, int64_t count) {
  load_queries(args, h, first, count);
  begin_block(h.block);
  for (int64_t key = 0; key < args.length; key += kAttentionKeys) {
    const int64_t keys = std::min<int64_t>(kAttentionKeys, args.length - key);
    softmax_block(args, h, key, keys);
    int64_t d = 0;
    for (; d + kDimVectors * kVector <= h.block.width; d += kDimVectors * kVector)
      weigh_values<kDimVectors>(h, key, keys, d);
    for (; d < h.block.width; d += kVector) weigh_values<1>(h, key, keys, d);
  }
  store_rows(args, h.block, first, count);
}

void attend(const AttentionArgs& args) {
  Head h = lay_out(args);
  if (h.block.width != args.head_dim) pad_values(args, h);
  for (int64_t i = 0; i < args.length; i += kQueries)
    attend_block(args, h, i, std::min<int64_t>(kQueries, args.length - i));
}

}  // namespace
}  // namespace twofour
