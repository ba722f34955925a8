// Dense f32 product over vectors of output rows, for any vector type. For files compiled with its
// instructions only: everything here has internal linkage.
//
// V gives: Vector, kLanes, kBlocks, kTokens, zero(), load(p), broadcast(p), fma(a, b, c), add(a,
// b), store(p, lanes, v).
#pragma once

#include <cstdint>

#include "twofour/backend/matmul.h"

namespace twofour {
namespace {

struct F32Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const float* x;
  float* y;
};

template <class V, int B, int T>
void run_f32_tile(const F32Tile& tile) {
  typename V::Vector sum[B][T];
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[b][t] = V::zero();
  }
  const float* weights = tile.w.weights.as<float>() + tile.panel.weights;
  for (int64_t j = 0; j < tile.w.k; ++j) {
    typename V::Vector w[B];
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) w[b] = V::load(weights + b * V::kLanes);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const auto x = V::broadcast(tile.x + t * tile.w.k + j);
#pragma GCC unroll 8
      for (int b = 0; b < B; ++b) sum[b][t] = V::fma(x, w[b], sum[b][t]);
    }
    weights += B * V::kLanes;
  }
  const float* bias = tile.w.bias.as<float>() + tile.panel.rows;
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) {
    const int64_t lanes = tile.panel.row_count - b * V::kLanes;
    float* y = tile.y + tile.panel.first_row + b * V::kLanes;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      V::store(y + t * tile.w.n, lanes, V::add(sum[b][t], V::load(bias + b * V::kLanes)));
    }
  }
}

template <class V, int B, int T = V::kTokens>
void run_f32_tokens(const F32Tile& tile, int64_t tokens) {
  if constexpr (T == 1) {
    run_f32_tile<V, B, 1>(tile);
  } else {
    if (tokens == T) return run_f32_tile<V, B, T>(tile);
    run_f32_tokens<V, B, T - 1>(tile, tokens);
  }
}

template <class V, int B = V::kBlocks>
void run_f32_panel(const F32Tile& tile, int64_t tokens) {
  if constexpr (B == 1) {
    run_f32_tokens<V, 1>(tile, tokens);
  } else {
    if (tile.panel.blocks == B) return run_f32_tokens<V, B>(tile, tokens);
    run_f32_panel<V, B - 1>(tile, tokens);
  }
}

template <class V>
void run_f32(const PackedWeights& w, const MatmulArgs& args) {
  const auto* x = static_cast<const float*>(args.x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (int64_t i = 0; i < args.m; i += V::kTokens) {
      const int64_t tokens = args.m - i < V::kTokens ? args.m - i : V::kTokens;
      run_f32_panel<V>({w, w.panels[p], x + i * w.k, args.y + i * w.n}, tokens);
    }
  }
}

}  // namespace
}  // namespace twofour
