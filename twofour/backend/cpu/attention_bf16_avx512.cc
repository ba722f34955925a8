// Attention with products in bf16, sums and softmax in f32: vdpbf16ps multiplies two pairs in each
// lane, twice what an fma does.
#include "twofour/backend/cpu/attention_bf16.h"

namespace twofour {
namespace {

// v: [ceil(length / 2), width], keys 2 j and 2 j + 1.
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
  weigh_scores(h, count, top);
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
  const int64_t width = round_up(args.head_dim, kVector);
  const Bf16Head h = lay_out_bf16(args, args.length, (args.length + 1) / kPair * width);
  convert_keys(args, h);
  convert_values(args, h);
  for (int64_t i = 0; i < args.length; i += kQueries)
    attend_block(args, h, i, std::min<int64_t>(kQueries, args.length - i));
}

}  // namespace twofour
