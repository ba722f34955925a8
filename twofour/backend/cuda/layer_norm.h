// LayerNorm with what stands around it: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta,
// where x is a product's result plus a residual, or the sum of a token's embeddings; y is stored as
// a float, quantized, or both. One warp takes a row.
//
// Sums run over 32 lanes, the CPU engine's over 16: the last bits of y may differ from its.
#pragma once

#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

struct NormArgs {
  const int32_t* rows = nullptr;  // how many there are, on the device
  int64_t width = 0;              // a multiple of kNormWidth, kMaximumNormWidth at most
  const float* gamma = nullptr;   // [width]
  const float* beta = nullptr;    // [width]
  float epsilon = 0;
  void* y = nullptr;            // [rows, width] of the stream's type, or null
  int8_t* quantized = nullptr;  // [rows, width], or null
  float output_scale = 1;
  bool e4m3 = false;  // the bytes at `quantized`
};

// x[row] = product[row] * input_scale * weight_scales + bias, then + residual[row].
struct LayerNormArgs : NormArgs {
  const void* product = nullptr;  // [rows, width] s32 or of the stream's type, without gaps
  float input_scale = 1;
  const float* weight_scales = nullptr;  // [width], or null for 1
  const float* bias = nullptr;           // [width], or null for 0
  const void* residual = nullptr;        // [rows, width] of the stream's type, or null
};

// x[token] = word[ids[token]] + type[type_ids[token]] + position[index in its sequence]. Ids that
// no table has are taken for the nearest ones: what comes by device pointer cannot be refused.
struct EmbeddingArgs : NormArgs {
  const int32_t* sequences = nullptr;  // how many, on the device
  const int32_t* ids = nullptr;
  const int32_t* type_ids = nullptr;
  const int32_t* offsets = nullptr;  // [sequences + 1]
  const void* word = nullptr;        // tables [count, width] of the stream's type
  const void* type = nullptr;
  const void* position = nullptr;
  int32_t words = 0, types = 0, positions = 0;
};

constexpr int kNormWidth = kEpilogueWidth;  // elements that a lane takes at once
constexpr int kMaximumNormWidth = 2048;

constexpr int kNormWarps = 4;  // rows of a block

// The sequence that holds `token`: the last whose offset is not above it.
TWOFOUR_HOST_DEVICE int32_t sequence_of(const int32_t* offsets, int32_t sequences, int32_t token) {
  int32_t low = 0, high = sequences;
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    (offsets[middle] <= token ? low : high) = middle;
  }
  return low;
}

TWOFOUR_HOST_DEVICE int32_t clamp_index(int32_t index, int32_t count) {
  return index < 0 ? 0 : index < count ? index : count - 1;
}

template <class T>
TWOFOUR_HOST_DEVICE Pack<T, kNormWidth> load_pack(const void* row, int64_t column) {
  return *reinterpret_cast<const Pack<T, kNormWidth>*>(static_cast<const T*>(row) + column);
}

template <class In, class Stream>
struct ProductRow {
  const LayerNormArgs& args;
  int64_t row;

  TWOFOUR_HOST_DEVICE void load(int64_t column, float (&x)[kNormWidth]) const {
    const auto product =
        load_pack<In>(static_cast<const In*>(args.product) + row * args.width, column);
    for (int i = 0; i < kNormWidth; ++i) {
      const float scale = args.weight_scales == nullptr ? 1.0f : args.weight_scales[column + i];
      const float bias = args.bias == nullptr ? 0.0f : args.bias[column + i];
      x[i] = multiply_then_add(to_float(product.values[i]), args.input_scale * scale, bias);
    }
    if (args.residual == nullptr) return;
    const auto residual =
        load_pack<Stream>(static_cast<const Stream*>(args.residual) + row * args.width, column);
    for (int i = 0; i < kNormWidth; ++i) x[i] += to_float(residual.values[i]);
  }
};

template <class Stream>
struct EmbeddingRow {
  const EmbeddingArgs& args;
  const Stream *word, *type, *position;

  TWOFOUR_HOST_DEVICE EmbeddingRow(const EmbeddingArgs& a, int64_t token) : args(a) {
    const auto t = static_cast<int32_t>(token);
    const int32_t index = t - a.offsets[sequence_of(a.offsets, *a.sequences, t)];
    word = row(a.word, a.ids[t], a.words);
    type = row(a.type, a.type_ids[t], a.types);
    position = row(a.position, index, a.positions);
  }

  TWOFOUR_HOST_DEVICE void load(int64_t column, float (&x)[kNormWidth]) const {
    const auto w = load_pack<Stream>(word, column);
    const auto t = load_pack<Stream>(type, column);
    const auto p = load_pack<Stream>(position, column);
    for (int i = 0; i < kNormWidth; ++i)
      x[i] = to_float(w.values[i]) + to_float(t.values[i]) + to_float(p.values[i]);
  }

  TWOFOUR_HOST_DEVICE const Stream* row(const void* table, int32_t index, int32_t count) const {
    return static_cast<const Stream*>(table) + clamp_index(index, count) * args.width;
  }
};

template <class Stream>
TWOFOUR_HOST_DEVICE void store_normal(const NormArgs& args, int64_t row, int64_t column,
                                      const float (&x)[kNormWidth], float mean, float inverse) {
  Pack<Stream, kNormWidth> y;
  Pack<int8_t, kNormWidth> quantized;
  for (int i = 0; i < kNormWidth; ++i) {
    const float value =
        multiply_then_add((x[i] - mean) * inverse, args.gamma[column + i], args.beta[column + i]);
    store(value, 1.0f, y.values[i]);
    quantized.values[i] = quantize_to_byte(value, args.output_scale, args.e4m3);
  }
  const int64_t at = row * args.width + column;
  if (args.y != nullptr)
    *reinterpret_cast<Pack<Stream, kNormWidth>*>(static_cast<Stream*>(args.y) + at) = y;
  if (args.quantized != nullptr)
    *reinterpret_cast<Pack<int8_t, kNormWidth>*>(args.quantized + at) = quantized;
}

// A row in the registers of a warp: pack p of lane l is pack l + 32 p of the row.
template <int kPacks>
struct NormLane {
  float x[kPacks][kNormWidth];
};

template <class Stream, int kPacks, class Warp, class Row>
TWOFOUR_DEVICE void normalize_row(const Warp& warp, const NormArgs& args, int64_t row,
                                  const Row& source) {
  typename Warp::template PerLane<NormLane<kPacks>> lanes;
  typename Warp::template PerLane<float> part;
  const auto each_pack = [&](auto function) {
    warp.each([&](int lane) {
      TWOFOUR_UNROLL
      for (int p = 0; p < kPacks; ++p) {
        const int64_t column = (lane + int64_t{kLanes} * p) * kNormWidth;
        if (column < args.width) function(lane, column, lanes[lane].x[p]);
      }
    });
  };
  warp.each([&](int lane) { part[lane] = 0.0f; });
  each_pack([&](int lane, int64_t column, float(&x)[kNormWidth]) {
    source.load(column, x);
    for (int i = 0; i < kNormWidth; ++i) part[lane] += x[i];
  });
  const auto count = static_cast<float>(args.width);
  const float mean = divide(warp.sum(part), count);
  warp.each([&](int lane) { part[lane] = 0.0f; });
  each_pack([&](int lane, int64_t, float(&x)[kNormWidth]) {
    for (int i = 0; i < kNormWidth; ++i)
      part[lane] = multiply_then_add(x[i] - mean, x[i] - mean, part[lane]);
  });
  const float inverse = divide(1.0f, square_root(divide(warp.sum(part), count) + args.epsilon));
  each_pack([&](int, int64_t column, float(&x)[kNormWidth]) {
    store_normal<Stream>(args, row, column, x, mean, inverse);
  });
}

template <class In, class Stream, int kPacks>
struct LayerNormBody {
  static constexpr int kThreads = kNormWarps * kLanes;
  static constexpr size_t kSharedBytes = 0;
  LayerNormArgs args;

  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    block.each_warp([&](const auto& warp, int w) {
      const int64_t row = index.x * kNormWarps + w;
      if (row < *args.rows)
        normalize_row<Stream, kPacks>(warp, args, row, ProductRow<In, Stream>{args, row});
    });
  }
};

template <class Stream, int kPacks>
struct EmbeddingBody {
  static constexpr int kThreads = kNormWarps * kLanes;
  static constexpr size_t kSharedBytes = 0;
  EmbeddingArgs args;

  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    block.each_warp([&](const auto& warp, int w) {
      const int64_t row = index.x * kNormWarps + w;
      if (row < *args.rows)
        normalize_row<Stream, kPacks>(warp, args, row, EmbeddingRow<Stream>(args, row));
    });
  }
};

}  // namespace twofour::cuda
