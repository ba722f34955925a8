// What attention with products in bf16 shares: pairs, along the head's dimensions for the scores
// and along the keys for the output. For files compiled with AVX-512 BF16 only: everything here has
// internal linkage.
#pragma once

#include "twofour/backend/cpu/attention_blocks.h"

namespace twofour {
namespace {

constexpr int kPair = 2;  // bf16 values in a lane of 32 bits

struct Bf16Head {
  int64_t pairs;     // of dimensions, in whole vectors
  int32_t* k;        // [length, pairs]
  int32_t* v;        // pairs of keys, as each kernel wants them
  int32_t* q;        // [pairs, kQueries]
  int32_t* weights;  // [kAttentionKeys / 2, kQueries]
  QueryBlock block;
};

// `keys` rows of k, `value_words` of 32 bits for v and what a kernel keeps behind it.
inline Bf16Head lay_out_bf16(const AttentionArgs& args, int64_t keys, int64_t value_words) {
  Bf16Head h;
  h.pairs = round_up(args.head_dim, kVector * kPair) / kPair;
  QueryBlock& b = h.block;
  b.width = round_up(args.head_dim, kVector);
  auto* next = reinterpret_cast<int32_t*>(args.scratch);
  const auto take = [&next](int64_t count) {
    int32_t* begin = next;
    next += count;
    return begin;
  };
  h.k = take(keys * h.pairs);
  h.v = take(value_words);
  h.q = take(h.pairs * kQueries);
  h.weights = take(kAttentionKeys / kPair * kQueries);
  b.scores = reinterpret_cast<float*>(take(kAttentionKeys * kQueries));
  b.out = reinterpret_cast<float*>(take(kQueries * b.width));
  b.largest = reinterpret_cast<float*>(take(kQueries));
  b.sum = reinterpret_cast<float*>(take(kQueries));
  b.factor = reinterpret_cast<float*>(take(kQueries));
  return h;
}

// Lanes of `low` and `high` rounded to bf16, in the low and high halves of 32 bits.
inline __m512i pair_lanes(const F32x16& low, const F32x16& high) {
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  alignas(64) static constexpr int16_t kInterleave[32] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), both);
}

// 16 pairs of neighbours of a row, from element `d` on; zeros past `count`.
inline __m512i pair_neighbours(const float* row, int64_t d, int64_t count, float scale) {
  F32x16 part[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t left = count - d - i * kVector;
    const float* p = row + d + i * kVector;
    part[i] = left >= kVector ? load(p) : left > 0 ? load_some(p, left) : F32x16{};
    part[i] *= scale;
  }
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(part[1], part[0]));
}

void convert_keys(const AttentionArgs& args, const Bf16Head& h) {
  for (int64_t j = 0; j < args.length; ++j) {
    for (int64_t p = 0; p < h.pairs; p += kVector) {
      _mm512_storeu_si512(h.k + j * h.pairs + p,
                          pair_neighbours(args.k + j * args.stride, p * kPair, args.head_dim, 1));
    }
  }
}

void convert_queries(const AttentionArgs& args, const Bf16Head& h, int64_t first, int64_t count) {
  const float scale = 1.44269504f / __builtin_sqrtf(static_cast<float>(args.head_dim));
  for (int64_t p = 0; p < h.pairs; p += kVector) {
    for (int64_t i0 = 0; i0 < kQueries; i0 += kVector) {
      F32x16 m[kVector];
      for (int i = 0; i < kVector; ++i) {
        const float* row = args.q + (first + i0 + i) * args.stride;
        m[i] =
            i0 + i >= count
                ? F32x16{}
                : reinterpret_cast<F32x16>(pair_neighbours(row, p * kPair, args.head_dim, scale));
      }
      transpose(m);
      for (int i = 0; i < kVector; ++i)
        store(reinterpret_cast<float*>(h.q) + (p + i) * kQueries + i0, m[i]);
    }
  }
}

// The scores of a block of keys, the largest of them and earlier ones in `top`, to weights in pairs
// of keys.
inline void weigh_scores(const Bf16Head& h, int64_t count, const F32x16 (&top)[kQueryVectors]) {
  const QueryBlock& f = h.block;
  for (int v = 0; v < kQueryVectors; ++v) {
    F32x16 total = begin_sum(f, v, top[v]);
    const auto weight = [&](int64_t i) TWOFOUR_LAMBDA {
      return exp2(at_least(load(f.scores + i * kQueries + v * kVector) - top[v], -126.0f));
    };
    for (int64_t i = 0; i < count; i += kPair) {
      const F32x16 low = weight(i);
      const F32x16 high = i + 1 < count ? weight(i + 1) : F32x16{};
      total += low + high;
      _mm512_storeu_si512(h.weights + i / kPair * kQueries + v * kVector, pair_lanes(low, high));
    }
    store(f.sum + v * kVector, total);
  }
}

}  // namespace
}  // namespace twofour
