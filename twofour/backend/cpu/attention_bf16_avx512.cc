// Attention with products in bf16, sums and softmax in f32: vdpbf16ps multiplies two pairs in each
// lane, twice what an fma does. Pairs run along the head's dimensions for the scores and along the
// keys for the output, so that queries, keys, values and weights are laid out in pairs first.
#include "twofour/backend/cpu/attention_blocks.h"

namespace twofour {
namespace {

constexpr int kPair = 2;  // bf16 values in a lane of 32 bits

struct Bf16Head {
  int64_t pairs;     // of dimensions, in whole vectors
  int32_t* k;        // [length, pairs]
  int32_t* v;        // [ceil(length / 2), width]: keys 2 j and 2 j + 1
  int32_t* q;        // [pairs, kQueries]
  int32_t* weights;  // [kAttentionKeys / 2, kQueries]
  QueryBlock block;
};

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

Bf16Head lay_out_bf16(const AttentionArgs& args) {
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
  h.k = take(args.length * h.pairs);
  h.v = take((args.length + 1) / 2 * b.width);
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

void convert_values(const AttentionArgs& args, const Bf16Head& h) {
  for (int64_t j = 0; j < args.length; j += kPair) {
    const float* row = args.v + j * args.stride;
    for (int64_t d = 0; d < h.block.width; d += kVector) {
      const int64_t lanes = std::min<int64_t>(kVector, args.head_dim - d);
      const F32x16 next = j + 1 < args.length ? load_lanes(row + args.stride + d, lanes) : F32x16{};
      _mm512_storeu_si512(h.v + j / kPair * h.block.width + d,
                          pair_lanes(load_lanes(row + d, lanes), next));
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

inline __attribute__((always_inline)) void dot(F32x16& sum, __m512i a, __m512i b) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

template <int K>
inline __attribute__((always_inline)) void score_pairs(const Bf16Head& h, const int32_t* k,
                                                       float* scores,
                                                       F32x16 (&top)[kQueryVectors]) {
  F32x16 sum[K][kQueryVectors] = {};
  for (int64_t p = 0; p < h.pairs; ++p) {
    __m512i q[kQueryVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kQueryVectors; ++v)
      q[v] = _mm512_loadu_si512(h.q + p * kQueries + v * kVector);
#pragma GCC unroll 8
    for (int j = 0; j < K; ++j) {
      const __m512i key = _mm512_set1_epi32(k[j * h.pairs + p]);
#pragma GCC unroll 2
      for (int v = 0; v < kQueryVectors; ++v) dot(sum[j][v], q[v], key);
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

// Scores of a block of keys, then their weights in pairs of keys.
void softmax_pairs(const Bf16Head& h, int64_t first, int64_t count) {
  const QueryBlock& f = h.block;
  F32x16 top[kQueryVectors];
  for (int v = 0; v < kQueryVectors; ++v) top[v] = load(f.largest + v * kVector);
  const int32_t* k = h.k + first * h.pairs;
  int64_t j = 0;
  for (; j + kKeyTile <= count; j += kKeyTile)
    score_pairs<kKeyTile>(h, k + j * h.pairs, f.scores + j * kQueries, top);
  for (; j < count; ++j) score_pairs<1>(h, k + j * h.pairs, f.scores + j * kQueries, top);

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

template <int D>
void weigh_pairs(const Bf16Head& h, int64_t first, int64_t count, int64_t d) {
  const int32_t* values = h.v + first / kPair * h.block.width + d;
  for (int64_t i = 0; i < kQueries; i += kRowTile) {
    F32x16 sum[kRowTile][D];
    load_output(h.block, first == 0, i, d, sum);
    for (int64_t j = 0; j < (count + 1) / kPair; ++j) {
      __m512i v[D];
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c)
        v[c] = _mm512_loadu_si512(values + j * h.block.width + c * kVector);
#pragma GCC unroll 8
      for (int r = 0; r < kRowTile; ++r) {
        const __m512i weight = _mm512_set1_epi32(h.weights[j * kQueries + i + r]);
#pragma GCC unroll 2
        for (int c = 0; c < D; ++c) dot(sum[r][c], weight, v[c]);
      }
    }
    store_output(h.block, i, d, sum);
  }
}

void attend_block(const AttentionArgs& args, const Bf16Head& h, int64_t first, int64_t count) {
  convert_queries(args, h, first, count);
  begin_block(h.block);
  static_assert(kAttentionKeys % kPair == 0);
  for (int64_t key = 0; key < args.length; key += kAttentionKeys) {
    const int64_t keys = std::min<int64_t>(kAttentionKeys, args.length - key);
    softmax_pairs(h, key, keys);
    int64_t d = 0;
    for (; d + kDimVectors * kVector <= h.block.width; d += kDimVectors * kVector)
      weigh_pairs<kDimVectors>(h, key, keys, d);
    for (; d < h.block.width; d += kVector) weigh_pairs<1>(h, key, keys, d);
  }
  store_rows(args, h.block, first, count);
}

}  // namespace

void attention_bf16_avx512(const AttentionArgs& args) {
  const Bf16Head h = lay_out_bf16(args);
  convert_keys(args, h);
  convert_values(args, h);
  for (int64_t i = 0; i < args.length; i += kQueries)
    attend_block(args, h, i, std::min<int64_t>(kQueries, args.length - i));
}

}  // namespace twofour
