// Attention with products in int8, scores and softmax in f32: vpdpbusd multiplies four pairs in
// each lane. Included once by each file that compiles it for an instruction set; all give the same
// bits.
//
// Scales are of each query and each key, of each dimension of the values, and of a query's weights
// in a block of keys, the largest of which becomes 255. Keys lose their mean, which adds the same
// to all scores of a query and so changes no weight (Zhang et al. 2024, arXiv:2410.02367); values
// lose theirs and the output gets it back, since weights sum to 1. They are summed before they are
// rounded: what rounding takes from many small ones then goes to the mean of the values and not to
// the few large ones.
#pragma once

#include "twofour/backend/cpu/attention_blocks.h"
#if defined(__AVX512F__)
#include "twofour/backend/cpu/s8_avx512.h"
#else
#include "twofour/backend/cpu/s8_avxvnni.h"
#endif

namespace twofour {
namespace {

constexpr int kQuad = 4;                  // int8 values in a lane of 32 bits
constexpr float kKeyOffset = 128;         // vpdpbusd wants one unsigned operand
constexpr float kLargestWeight = 255;     // a byte
constexpr float kSmallestScale = 1e-30f;  // of zeros: no denormal number, which would be slow

struct S8Head {
  int64_t row_bytes;                 // of `rows`
  int8_t* k;                         // [whole vectors of keys, width], + 128
  float* k_scale;                    // of each key
  int32_t* v;                        // [ceil(length / 4), width], four keys each
  float *k_mean, *v_mean, *v_scale;  // [width] each
  int8_t* rows;                      // of 16 queries
  int32_t* q;                        // [width / 4, kQueries]
  float* q_scale;                    // [kQueries], times log2(e) / sqrt(head_dim)
  int32_t* start;                    // [kQueries], takes back the 128 of the keys
  int32_t* weights;                  // [kAttentionKeys / 4, kQueries], four keys each
  float* share;  // [kQueries], of a block's weights relative to the largest score so far
  QueryBlock block;
};

S8Head lay_out(const AttentionArgs& args) {
  S8Head h;
  QueryBlock& b = h.block;
  b.width = round_up(args.head_dim, kVector);
  h.row_bytes = round_up(b.width, kVector * kQuad);
  auto* next = reinterpret_cast<std::byte*>(args.scratch);
  const auto take = [&next]<class T>(T*& begin, int64_t count) {
    begin = reinterpret_cast<T*>(next);
    next += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  };
  const int64_t keys = round_up(args.length, kVector);
  take(h.k, keys * b.width);
  take(h.k_scale, keys);
  take(h.v, round_up(args.length, kQuad) / kQuad * b.width);
  for (float** column : {&h.k_mean, &h.v_mean, &h.v_scale}) take(*column, b.width);
  take(h.rows, kVector * h.row_bytes);
  take(h.q, b.width / kQuad * kQueries);
  take(h.start, kQueries);
  take(h.weights, kAttentionKeys / kQuad * kQueries);
  take(b.scores, kAttentionKeys * kQueries);
  take(b.out, kQueries * b.width);
  for (float** number : {&h.q_scale, &h.share, &b.largest, &b.sum, &b.factor})
    take(*number, kQueries);
  return h;
}

TWOFOUR_INLINE I32x16 load_words(const int32_t* p) {
  return as_int(load(reinterpret_cast<const float*>(p)));
}
TWOFOUR_INLINE void store_words(int32_t* p, const I32x16& v) {
  store(reinterpret_cast<float*>(p), as_float(v));
}
TWOFOUR_INLINE I32x16 splat_word(int32_t word) { return I32x16{} + word; }

// Sums of four products in each lane, of unsigned by signed bytes.
TWOFOUR_INLINE void dot(I32x16& sum, const I32x16& bytes, const I32x16& signed_bytes) {
#if defined(__AVX512F__)
  auto part = reinterpret_cast<__m512i>(sum);
  S8::dot(part, reinterpret_cast<__m512i>(bytes), reinterpret_cast<__m512i>(signed_bytes));
  sum = reinterpret_cast<I32x16>(part);
#else
  sum = by_part<int32_t>([&](int i) TWOFOUR_LAMBDA {
    auto part = reinterpret_cast<__m256i>(sum.part[i]);
    S8::dot(part, reinterpret_cast<__m256i>(bytes.part[i]),
            reinterpret_cast<__m256i>(signed_bytes.part[i]));
    return reinterpret_cast<I32x16::Part>(part);
  });
#endif
}

TWOFOUR_INLINE F32x16 to_float(const I32x16& v) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(v));
#else
  return by_part<float>([&](int i) TWOFOUR_LAMBDA {
    return _mm256_cvtepi32_ps(reinterpret_cast<__m256i>(v.part[i]));
  });
#endif
}

// Four vectors of integers from 0 to 255, to each of which kRound was added, as bytes of each lane.
TWOFOUR_INLINE I32x16 pack_bytes(const F32x16 (&v)[kQuad]) {
  const F32x16 low = fma(v[1] - kRound, splat(256.0f), v[0]);
  const F32x16 high = fma(v[3] - kRound, splat(256.0f), v[2]);
  return (as_int(low) & 0xffff) | (as_int(high) << 16);
}

// 16 dimensions of a row of queries, keys or values; zeros past the last one.
TWOFOUR_INLINE F32x16 load_dims(const AttentionArgs& args, const float* rows, int64_t row,
                                int64_t d) {
  const int64_t lanes = std::min<int64_t>(kVector, args.head_dim - d);
  return load_lanes(rows + row * args.stride + d, lanes);
}

// Means of keys and values, and the values' scales.
void find_ranges(const AttentionArgs& args, const S8Head& h) {
  const float share = 1.0f / static_cast<float>(args.length);
  for (int64_t d = 0; d < h.block.width; d += kVector) {
    F32x16 keys{}, values{};
    F32x16 least = load_dims(args, args.v, 0, d), most = least;
    for (int64_t j = 0; j < args.length; ++j) {
      const F32x16 v = load_dims(args, args.v, j, d);
      keys += load_dims(args, args.k, j, d);
      values += v;
      least = smaller(v, least);
      most = larger(v, most);
    }
    const F32x16 mean = values * share;
    store(h.k_mean + d, keys * share);
    store(h.v_mean + d, mean);
    store(h.v_scale + d,
          at_least(larger(most - mean, mean - least) * (1.0f / 127), kSmallestScale));
  }
}

// 16 rows of `width` numbers, as integers + offset with a scale for each row. row(i, d) gives 16
// numbers of row i.
template <class Row>
TWOFOUR_INLINE void quantize_rows(int64_t width, float offset, Row row, int8_t* out, int64_t stride,
                                  float* scales) {
  F32x16 largest[kVector];
  for (int i = 0; i < kVector; ++i) {
    largest[i] = F32x16{};
    for (int64_t d = 0; d < width; d += kVector)
      largest[i] = larger(absolute(row(i, d)), largest[i]);
  }
  transpose(largest);
  for (int i = 1; i < kVector; ++i) largest[0] = larger(largest[i], largest[0]);
  const F32x16 scale = at_least(largest[0] * (1.0f / 127), kSmallestScale);
  store(scales, scale);
  float inverse[kVector];
  store(inverse, 1.0f / scale);
  for (int i = 0; i < kVector; ++i) {
    for (int64_t d = 0; d < width; d += kVector) {
      const F32x16 q = fma(row(i, d), splat(inverse[i]), splat(kRound + offset));
      store_lanes(out + i * stride + d, kVector, to_bytes(as_int(q)));
    }
  }
}

void quantize_keys(const AttentionArgs& args, const S8Head& h) {
  for (int64_t j = 0; j < args.length; j += kVector) {
    const int64_t count = args.length - j;
    const auto row = [&](int64_t i, int64_t d) TWOFOUR_LAMBDA {
      return i < count ? load_dims(args, args.k, j + i, d) - load(h.k_mean + d) : F32x16{};
    };
    const int64_t width = h.block.width;
    quantize_rows(width, kKeyOffset, row, h.k + j * width, width, h.k_scale + j);
  }
}

// Leaves the scale of a weight of 1 instead of 255.
void quantize_values(const AttentionArgs& args, const S8Head& h) {
  constexpr float kOffset = 128;  // until the bytes are packed
  constexpr auto kSignBits = static_cast<int32_t>(0x80808080);
  for (int64_t d = 0; d < h.block.width; d += kVector) {
    const F32x16 mean = load(h.v_mean + d), scale = load(h.v_scale + d), inverse = 1.0f / scale;
    store(h.v_scale + d, scale * (1.0f / kLargestWeight));
    for (int64_t j = 0; j < args.length; j += kQuad) {
      F32x16 v[kQuad];
#pragma GCC unroll 4
      for (int i = 0; i < kQuad; ++i) {
        const F32x16 value = j + i < args.length ? load_dims(args, args.v, j + i, d) : mean;
        v[i] = fma(value - mean, inverse, kRound + kOffset);
      }
      store_words(h.v + j / kQuad * h.block.width + d, pack_bytes(v) ^ kSignBits);
    }
  }
}

// Queries [first, first + count) to h.q; lanes past them hold 0.
void quantize_queries(const AttentionArgs& args, const S8Head& h, int64_t first, int64_t count) {
  const float factor = 1.44269504f / __builtin_sqrtf(static_cast<float>(args.head_dim));
  const int64_t quads = h.block.width / kQuad;
  for (int64_t i0 = 0; i0 < kQueries; i0 += kVector) {
    const auto row = [&](int64_t i, int64_t d) TWOFOUR_LAMBDA {
      return i0 + i < count ? load_dims(args, args.q, first + i0 + i, d) : F32x16{};
    };
    quantize_rows(h.block.width, 0, row, h.rows, h.row_bytes, h.q_scale + i0);
    store(h.q_scale + i0, load(h.q_scale + i0) * factor);
    I32x16 sum{};
    for (int64_t p = 0; p < quads; p += kVector) {
      F32x16 m[kVector];
      for (int i = 0; i < kVector; ++i)
        m[i] = load(reinterpret_cast<const float*>(h.rows + i * h.row_bytes + p * kQuad));
      transpose(m);
      for (int64_t i = 0; i < std::min<int64_t>(kVector, quads - p); ++i) {
        store_words(h.q + (p + i) * kQueries + i0, as_int(m[i]));
        dot(sum, splat_word(0x01010101), as_int(m[i]));
      }
    }
    store_words(h.start + i0, sum * -static_cast<int32_t>(kKeyOffset));
  }
}

// Scores of K keys, and the largest of them and those in `top`.
template <int K>
TWOFOUR_INLINE void score_keys(const S8Head& h, int64_t first, float* scores,
                               F32x16 (&top)[kQueryVectors]) {
  const int64_t width = h.block.width;
  const int8_t* k = h.k + first * width;
  I32x16 sum[K][kQueryVectors];
#pragma GCC unroll 8
  for (int j = 0; j < K; ++j) {
#pragma GCC unroll 2
    for (int v = 0; v < kQueryVectors; ++v) sum[j][v] = load_words(h.start + v * kVector);
  }
  for (int64_t d = 0; d < width; d += kQuad) {
    I32x16 q[kQueryVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kQueryVectors; ++v)
      q[v] = load_words(h.q + d / kQuad * kQueries + v * kVector);
#pragma GCC unroll 8
    for (int j = 0; j < K; ++j) {
      int32_t word;
      std::memcpy(&word, k + j * width + d, sizeof word);
      const I32x16 key = splat_word(word);
#pragma GCC unroll 2
      for (int v = 0; v < kQueryVectors; ++v) dot(sum[j][v], key, q[v]);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < K; ++j) {
#pragma GCC unroll 2
    for (int v = 0; v < kQueryVectors; ++v) {
      const F32x16 score =
          to_float(sum[j][v]) * h.k_scale[first + j] * load(h.q_scale + v * kVector);
      top[v] = larger(top[v], score);
      store(scores + j * kQueries + v * kVector, score);
    }
  }
}

// Takes the largest scores of a block, to which its weights are relative, and their sum; the
// largest so far is what sums and output are relative to.
TWOFOUR_INLINE void add_sum(const S8Head& h, int v, const F32x16& top, const F32x16& total) {
  const QueryBlock& b = h.block;
  const F32x16 old = load(b.largest + v * kVector), now = larger(old, top);
  const F32x16 factor = exp2(at_least(old - now, -126.0f));
  const F32x16 share = exp2(at_least(top - now, -126.0f));
  store(b.largest + v * kVector, now);
  store(b.factor + v * kVector, factor);
  store(h.share + v * kVector, share);
  store(b.sum + v * kVector, load(b.sum + v * kVector) * factor + total * share);
}

// Scores of keys [first, first + count), then their weights in fours.
void softmax_block(const S8Head& h, int64_t first, int64_t count) {
  float* scores = h.block.scores;
  F32x16 top[kQueryVectors];
  for (int v = 0; v < kQueryVectors; ++v) top[v] = splat(kLowest);
  int64_t j = 0;
  for (; j + kKeyTile <= count; j += kKeyTile)
    score_keys<kKeyTile>(h, first + j, scores + j * kQueries, top);
  for (; j < count; ++j) score_keys<1>(h, first + j, scores + j * kQueries, top);
  for (; j % kQuad != 0; ++j) {
    for (int v = 0; v < kQueryVectors; ++v)
      store(scores + j * kQueries + v * kVector, splat(kLowest));
  }
  for (int v = 0; v < kQueryVectors; ++v) {
    F32x16 total{};
    for (int64_t i = 0; i < count; i += kQuad) {
      F32x16 weight[kQuad];
#pragma GCC unroll 4
      for (int n = 0; n < kQuad; ++n) {
        const F32x16 score = load(scores + (i + n) * kQueries + v * kVector);
        const F32x16 p = exp2(at_least(score - top[v], -126.0f));
        total += p;
        weight[n] = fma(p, splat(kLargestWeight), kRound);
      }
      store_words(h.weights + i / kQuad * kQueries + v * kVector, pack_bytes(weight));
    }
    add_sum(h, v, top[v], total);
  }
}

// Adds the values of keys [first, first + count), each weighted, to D vectors of the output.
template <int D>
void weigh_values(const S8Head& h, int64_t first, int64_t count, int64_t d) {
  const QueryBlock& b = h.block;
  const int32_t* values = h.v + first / kQuad * b.width + d;
  for (int64_t i = 0; i < kQueries; i += kRowTile) {
    I32x16 sum[kRowTile][D] = {};
    for (int64_t j = 0; j < count; j += kQuad) {
      I32x16 v[D];
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c) v[c] = load_words(values + j / kQuad * b.width + c * kVector);
#pragma GCC unroll 8
      for (int r = 0; r < kRowTile; ++r) {
        const I32x16 weight = splat_word(h.weights[j / kQuad * kQueries + i + r]);
#pragma GCC unroll 2
        for (int c = 0; c < D; ++c) dot(sum[r][c], weight, v[c]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRowTile; ++r) {
#pragma GCC unroll 2
      for (int c = 0; c < D; ++c) {
        float* out = b.out + (i + r) * b.width + d + c * kVector;
        const F32x16 added = to_float(sum[r][c]) * h.share[i + r];
        store(out, first == 0 ? added : fma(load(out), splat(b.factor[i + r]), added));
      }
    }
  }
}

void attend_block(const AttentionArgs& args, const S8Head& h, int64_t first, int64_t count) {
  quantize_queries(args, h, first, count);
  begin_block(h.block);
  static_assert(kAttentionKeys % kVector == 0);
  for (int64_t key = 0; key < args.length; key += kAttentionKeys) {
    const int64_t keys = std::min<int64_t>(kAttentionKeys, args.length - key);
    softmax_block(h, key, keys);
    int64_t d = 0;
    for (; d + kDimVectors * kVector <= h.block.width; d += kDimVectors * kVector)
      weigh_values<kDimVectors>(h, key, keys, d);
    for (; d < h.block.width; d += kVector) weigh_values<1>(h, key, keys, d);
  }
  store_rows(args, h.block, first, count, [&](const F32x16& x, int64_t d) TWOFOUR_LAMBDA {
    return fma(x, load(h.v_scale + d), load(h.v_mean + d));
  });
}

void attend(const AttentionArgs& args) {
  const S8Head h = lay_out(args);
  find_ranges(args, h);
  quantize_keys(args, h);
  quantize_values(args, h);
  for (int64_t i = 0; i < args.length; i += kQueries)
    attend_block(args, h, i, std::min<int64_t>(kQueries, args.length - i));
}

}  // namespace
}  // namespace twofour
