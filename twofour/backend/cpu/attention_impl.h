// Attention of one head; included once by each file that compiles it for an instruction set. Lanes
// are keys for the scores and head dimensions for the output.
#pragma once

#include "twofour/backend/cpu/vector_math.h"
#include "twofour/backend/cpu/vector_tables.h"

namespace twofour {
namespace {

struct Head {
  int64_t length, head_dim, keys,
      width;      // keys and width: length and head_dim padded to whole vectors
  float* k;       // [head_dim, keys]
  float* v;       // [length, width]
  float* scores;  // [4, keys]
  float* q;       // [4, width], scaled
};

Head lay_out(const AttentionArgs& args) {
  Head h;
  h.length = args.length;
  h.head_dim = args.head_dim;
  h.keys = (args.length + kVector - 1) / kVector * kVector;
  h.width = (args.head_dim + kVector - 1) / kVector * kVector;
  h.k = args.scratch;
  h.v = h.k + h.head_dim * h.keys;
  h.scores = h.v + h.length * h.width;
  h.q = h.scores + 4 * h.keys;
  return h;
}

void transpose_keys(const AttentionArgs& args, const Head& h) {
  for (int64_t j = 0; j < h.keys; ++j) {
    const float* row = args.k + j * args.stride;
    for (int64_t d = 0; d < h.head_dim; ++d) h.k[d * h.keys + j] = j < h.length ? row[d] : 0.0f;
  }
}

void pad_values(const AttentionArgs& args, const Head& h) {
  for (int64_t j = 0; j < h.length; ++j) {
    std::memcpy(h.v + j * h.width, args.v + j * args.stride, h.head_dim * sizeof(float));
    for (int64_t d = h.head_dim; d < h.width; ++d) h.v[j * h.width + d] = 0.0f;
  }
}

template <int Q>
TWOFOUR_INLINE void compute_scores(const Head& h) {
  for (int64_t j = 0; j < h.keys; j += kVector) {
    F32x16 sum[Q] = {};
    for (int64_t d = 0; d < h.head_dim; ++d) {
      const F32x16 k = load(h.k + d * h.keys + j);
#pragma GCC unroll 4
      for (int i = 0; i < Q; ++i) sum[i] += h.q[i * h.width + d] * k;
    }
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) store(h.scores + i * h.keys + j, sum[i]);
  }
}

// Exponentials in place, 0 in the padding; returns 1 / their sum.
TWOFOUR_INLINE float softmax(float* scores, const Head& h) {
  for (int64_t j = h.length; j < h.keys; ++j) scores[j] = -3.0e38f;
  F32x16 top = load(scores);
  for (int64_t j = kVector; j < h.keys; j += kVector) {
    const F32x16 s = load(scores + j);
    top = top < s ? s : top;
  }
  const float largest = max_lanes(top);
  F32x16 total{};
  for (int64_t j = 0; j < h.keys; j += kVector) {
    F32x16 e = exp(load(scores + j) - largest);
    if (j + kVector > h.length) e = load_some(reinterpret_cast<const float*>(&e), h.length - j);
    store(scores + j, e);
    total += e;
  }
  return 1.0f / sum_lanes(total);
}

template <int Q>
TWOFOUR_INLINE void weigh_values(const AttentionArgs& args, const Head& h, const float* inverse,
                                 float* out) {
  for (int64_t d = 0; d < h.width; d += kVector) {
    F32x16 sum[Q] = {};
    for (int64_t j = 0; j < h.length; ++j) {
      const F32x16 v = load(h.v + j * h.width + d);
#pragma GCC unroll 4
      for (int i = 0; i < Q; ++i) sum[i] += h.scores[i * h.keys + j] * v;
    }
    const int64_t lanes = h.head_dim - d < kVector ? h.head_dim - d : kVector;
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) store_some(out + i * args.stride + d, lanes, sum[i] * inverse[i]);
  }
}

template <int Q>
void attend_queries(const AttentionArgs& args, const Head& h, int64_t first) {
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(h.head_dim));
  for (int i = 0; i < Q; ++i) {
    const float* row = args.q + (first + i) * args.stride;
    for (int64_t d = 0; d < h.head_dim; ++d) h.q[i * h.width + d] = row[d] * scale;
  }
  compute_scores<Q>(h);
  float inverse[Q];
  for (int i = 0; i < Q; ++i) inverse[i] = softmax(h.scores + i * h.keys, h);
  weigh_values<Q>(args, h, inverse, args.out + first * args.stride);
}

void attend(const AttentionArgs& args) {
  const Head h = lay_out(args);
  transpose_keys(args, h);
  pad_values(args, h);
  int64_t i = 0;
  for (; i + 4 <= h.length; i += 4) attend_queries<4>(args, h, i);
  for (; i < h.length; ++i) attend_queries<1>(args, h, i);
}

}  // namespace
}  // namespace twofour
