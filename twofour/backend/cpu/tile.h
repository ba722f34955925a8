// From a tile of f32 results in packed order to where they belong, by way of the epilogue. Included
// by tile_avx512.h and tile_avx2.h, which give kLanes, in_order and store_lanes16: everything here
// has internal linkage.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "twofour/backend/cpu/vector_math.h"
#include "twofour/backend/matmul.h"

namespace twofour {
namespace {

// From row to row of activations that a kernel has laid out anew, in bytes.
inline int64_t laid_out_stride(int64_t row_bytes) { return (row_bytes + 63) / 64 * 64; }

// The results of `tokens` rows from `first` on, [token][block][lane] in packed order.
struct TileResults {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  int64_t first;
  int tokens;
  float* values;
};

template <int B>
void store_ordered(const TileResults& tile) {
  const Epilogue& epilogue = tile.args.epilogue;
  const int32_t* store_map = tile.w.store_map.as<int32_t>() + tile.panel.rows;
  const Quantizer quantizer(epilogue.output_scale, epilogue.output_offset);
  const float* values = tile.values;
  const bool as_they_are = tile.panel.in_order && B * kLanes % kVector == 0;
  for (int t = 0; t < tile.tokens; ++t, values += B * kLanes) {
    const int64_t row = (tile.first + t) * tile.w.n + tile.panel.first_row;
    for (int64_t i = 0; i < tile.panel.row_count; i += kVector) {
      const F32x16 x =
          as_they_are ? load(values + i) : in_order<B>(values, store_map, static_cast<int>(i));
      const int64_t lanes = std::min<int64_t>(kVector, tile.panel.row_count - i);
      if (tile.args.y != nullptr) store_lanes16(tile.args.y + row + i, lanes, x);
      if (epilogue.quantized != nullptr)
        store_lanes16(epilogue.quantized + row + i, lanes, quantizer(x));
    }
  }
}

template <int B>
void store_scattered(const TileResults& tile) {
  const Epilogue& epilogue = tile.args.epilogue;
  const int32_t* rows = tile.w.row_map.data() + tile.panel.rows;
  const Quantizer quantizer(epilogue.output_scale, epilogue.output_offset);
  const float* values = tile.values;
  for (int t = 0; t < tile.tokens; ++t, values += B * kLanes) {
    alignas(64) int8_t quantized[B * kLanes];
    if (epilogue.quantized != nullptr) {
      for (int i = 0; i < B * kLanes; i += kVector) {
        const int64_t lanes = std::min(kVector, B * kLanes - i);
        const I8x16 q = quantizer(load_lanes(values + i, lanes));
        std::memcpy(quantized + i, &q, lanes);
      }
    }
    const int64_t at = (tile.first + t) * tile.w.n;
    for (int i = 0; i < B * kLanes; ++i) {
      if (rows[i] < 0) continue;
      if (tile.args.y != nullptr) tile.args.y[at + rows[i]] = values[i];
      if (epilogue.quantized != nullptr) epilogue.quantized[at + rows[i]] = quantized[i];
    }
  }
}

// Two passes: in one, too few vectors are under way at once to hide how long each takes.
template <int B>
void finish_tile(const TileResults& tile) {
  const auto& activation = tile.args.epilogue.activation;
  if (activation) activate(*activation, tile.values, tile.tokens * B * kLanes);
  tile.panel.row_count == 0 ? store_scattered<B>(tile) : store_ordered<B>(tile);
}

}  // namespace
}  // namespace twofour
