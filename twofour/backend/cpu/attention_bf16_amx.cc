// Attention with products in bf16 on AMX, sums and softmax in f32. Scores are K Q^T, the output is
// V^T P^T: queries are the lanes throughout, and what a product wants in pairs of inputs is what
// the step before it has made. Keys and values are laid out once for a head.
#include "twofour/backend/cpu/amx.h"
#include "twofour/backend/cpu/attention_bf16.h"

namespace twofour {
namespace {

constexpr int64_t kTilePairs = kTileRowBytes / 4;  // of inputs, in a row of a tile of A
constexpr int64_t kTileKeys = kTilePairs * kPair;
static_assert(kQueries == 2 * kTileRows && kAttentionKeys % kTileKeys == 0);

// C = A B with 1 or 2 tiles of rows of A and 32 queries of B; rows of A have `steps` * 16 pairs.
// `stride` in elements of 4 bytes.
template <int RowTiles>
TWOFOUR_INLINE void multiply_block(const int32_t* a, int64_t stride, const int32_t* b,
                                   int64_t steps, float* c) {
  zero_tile<kC>();
  zero_tile<kC + 1>();
  if constexpr (RowTiles == 2) zero_tile<kC + 2>();
  if constexpr (RowTiles == 2) zero_tile<kC + 3>();
  constexpr int64_t kBlockRow = kQueries * sizeof(int32_t);
  const auto at = [](const int32_t* p) { return reinterpret_cast<const std::byte*>(p); };
  for (int64_t j = 0; j < steps; ++j) {
    load_tile<kB>(at(b), kBlockRow);
    load_tile<kA>(at(a), stride * 4);
    dot_tiles_bf16<kC, kA, kB>();
    load_tile<kB + 1>(at(b + kVector), kBlockRow);
    dot_tiles_bf16<kC + 1, kA, kB + 1>();
    if constexpr (RowTiles == 2) {
      load_tile<kA + 1>(at(a + kTileRows * stride), stride * 4);
      dot_tiles_bf16<kC + 2, kA + 1, kB>();
      dot_tiles_bf16<kC + 3, kA + 1, kB + 1>();
    }
    a += kTilePairs;
    b += kTilePairs * kQueries;
  }
  store_tile<kC>(c, kBlockRow);
  store_tile<kC + 1>(c + kVector, kBlockRow);
  if constexpr (RowTiles == 2) store_tile<kC + 2>(c + kTileRows * kQueries, kBlockRow);
  if constexpr (RowTiles == 2) store_tile<kC + 3>(c + kTileRows * kQueries + kVector, kBlockRow);
}

// `rows` / 16 tiles of rows of A.
void multiply_rows(const int32_t* a, int64_t rows, int64_t stride, const int32_t* b, int64_t steps,
                   float* c) {
  int64_t i = 0;
  for (; i + 2 * kTileRows <= rows; i += 2 * kTileRows)
    multiply_block<2>(a + i * stride, stride, b, steps, c + i * kQueries);
  if (i < rows) multiply_block<1>(a + i * stride, stride, b, steps, c + i * kQueries);
}

struct AmxHead : Bf16Head {
  int64_t key_pairs;  // in whole tiles
  float* product;     // [width, kQueries] of a block of keys
};

AmxHead lay_out_amx(const AttentionArgs& args) {
  const int64_t width = round_up(args.head_dim, kVector);
  const int64_t key_pairs = round_up(args.length, kTileKeys) / kPair;
  // Tiles take whole rows: what keys past the last one score is not looked at.
  AmxHead h{
      lay_out_bf16(args, round_up(args.length, kTileRows), width * key_pairs + width * kQueries),
      key_pairs, nullptr};
  h.product = reinterpret_cast<float*>(h.v + width * key_pairs);
  return h;
}

// v: [width, key_pairs], zeros past the last key.
void convert_values(const AttentionArgs& args, const AmxHead& h) {
  for (int64_t p = 0; p < h.key_pairs; p += kVector) {
    for (int64_t d = 0; d < h.block.width; d += kVector) {
      const int64_t lanes = std::min<int64_t>(kVector, args.head_dim - d);
      const auto value = [&](int64_t key) TWOFOUR_LAMBDA {
        return key < args.length ? load_lanes(args.v + key * args.stride + d, lanes) : F32x16{};
      };
      F32x16 m[kVector];
      for (int i = 0; i < kVector; ++i) {
        const int64_t key = kPair * (p + i);
        m[i] = reinterpret_cast<F32x16>(pair_lanes(value(key), value(key + 1)));
      }
      transpose(m);
      for (int i = 0; i < kVector; ++i)
        store(reinterpret_cast<float*>(h.v + (d + i) * h.key_pairs + p), m[i]);
    }
  }
}

// Scores of keys [first, first + count), then their weights, 0 up to a whole tile.
void softmax_tiles(const AmxHead& h, int64_t first, int64_t count) {
  multiply_rows(h.k + first * h.pairs, round_up(count, kTileRows), h.pairs, h.q,
                h.pairs / kTilePairs, h.block.scores);
  F32x16 top[kQueryVectors];
  for (int v = 0; v < kQueryVectors; ++v) {
    top[v] = load(h.block.largest + v * kVector);
    for (int64_t i = 0; i < count; ++i)
      top[v] = larger(top[v], load(h.block.scores + i * kQueries + v * kVector));
  }
  weigh_scores(h, count, top);
  const int64_t pairs = (count + 1) / kPair, whole = round_up(count, kTileKeys) / kPair;
  std::memset(h.weights + pairs * kQueries, 0, (whole - pairs) * kQueries * sizeof(int32_t));
}

// Adds the values of those keys, each weighted, to the output [width, kQueries].
void weigh_tiles(const AmxHead& h, int64_t first, int64_t count) {
  const int64_t steps = round_up(count, kTileKeys) / kTileKeys;
  float* product = first == 0 ? h.block.out : h.product;
  multiply_rows(h.v + first / kPair, h.block.width, h.key_pairs, h.weights, steps, product);
  if (first == 0) return;
  for (int v = 0; v < kQueryVectors; ++v) {
    const F32x16 factor = load(h.block.factor + v * kVector);
    for (int64_t d = 0; d < h.block.width; ++d) {
      float* out = h.block.out + d * kQueries + v * kVector;
      store(out, load(out) * factor + load(product + d * kQueries + v * kVector));
    }
  }
}

// The output to rows of dimensions.
void store_queries(const AttentionArgs& args, const AmxHead& h, int64_t first, int64_t count) {
  const Quantizer quantizer(args.output_scale);
  for (int64_t i0 = 0; i0 < count; i0 += kVector) {
    const F32x16 inverse = 1.0f / load(h.block.sum + i0);
    for (int64_t d = 0; d < args.head_dim; d += kVector) {
      const int64_t dims = std::min<int64_t>(kVector, args.head_dim - d);
      F32x16 m[kVector];
      for (int i = 0; i < kVector; ++i)
        m[i] = load(h.block.out + (d + i) * kQueries + i0) * inverse;
      transpose(m);
      for (int64_t i = 0; i < std::min<int64_t>(kVector, count - i0); ++i) {
        const int64_t at = (first + i0 + i) * args.out_stride + d;
        if (args.out != nullptr) store_lanes(args.out + at, dims, m[i]);
        if (args.quantized != nullptr) store_lanes(args.quantized + at, dims, quantizer(m[i]));
      }
    }
  }
}

}  // namespace

void attention_bf16_amx(const AttentionArgs& args) {
  const AmxHead h = lay_out_amx(args);
  convert_keys(args, h);
  convert_values(args, h);
  const TilesInUse tiles(kTileRows);
  for (int64_t i = 0; i < args.length; i += kQueries) {
    const int64_t count = std::min<int64_t>(kQueries, args.length - i);
    convert_queries(args, h, i, count);
    begin_block(h.block);
    for (int64_t key = 0; key < args.length; key += kAttentionKeys) {
      const int64_t keys = std::min<int64_t>(kAttentionKeys, args.length - key);
      softmax_tiles(h, key, keys);
      weigh_tiles(h, key, keys);
    }
    store_queries(args, h, i, count);
  }
}

}  // namespace twofour
