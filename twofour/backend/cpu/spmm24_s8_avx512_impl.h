// Included once by each file that compiles it for an instruction set.
//
// 2:4 s8 product: a lane's 4 non-zeros come from 8 inputs, so a token's 8 bytes are broadcast,
// vpshufb picks each lane's four, and one vpdpbusd does what takes a dense kernel two. Rows that
// share a pattern share the shuffle.
#pragma once

#include <cstring>

#include "twofour/backend/cpu/s8_avx512.h"

namespace twofour {
namespace {

// Controls of a panel, [k / 8][patterns]: expanded once for many tokens, since inside the product
// it costs the whole gain, or expanded on the fly for a single tile, where memory is the limit.
struct Stored {
  const __m512i* controls;
  __m512i load(int64_t i) const { return controls[i]; }
};
template <class Expand>
struct Compact {
  const uint8_t* metadata;
  __m512i load(int64_t i) const { return Expand::control(metadata + i * kLanes); }
};

template <class Controls>
struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  Controls controls;
  const uint8_t* x;
  int64_t stride;
  int64_t first;  // row of x
};

inline __m512i broadcast8(const uint8_t* x) {
  int64_t word;
  std::memcpy(&word, x, sizeof word);
  return _mm512_set1_epi64(word);
}

// P patterns of S blocks each, T tokens.
template <int P, int S, int T, class Controls>
inline __attribute__((always_inline)) void multiply(const Tile<Controls>& tile,
                                                    __m512i (&sum)[P * S][T]) {
  const int8_t* weights = tile.w.weights.template as<int8_t>() + tile.panel.weights;
  const uint8_t* x = tile.x;
  const int64_t controls = tile.w.k / 8 * P;
  for (int64_t c = 0; c < controls; c += P) {
    __m512i w[P * S], control[P];
#pragma GCC unroll 4
    for (int b = 0; b < P * S; ++b) w[b] = _mm512_load_si512(weights + b * 64);
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) control[p] = tile.controls.load(c + p);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i activations = broadcast8(x + t * tile.stride);
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) {
        const __m512i selected = _mm512_shuffle_epi8(activations, control[p]);
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) dot(sum[p * S + s][t], selected, w[p * S + s]);
      }
    }
    weights += P * S * 64;
    x += 8;
  }
}

template <int P, int S, int T, class Controls>
void run_tile(const Tile<Controls>& tile) {
  constexpr int kBlocks = P * S;
  __m512i sum[kBlocks][T];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const __m512i start = start_sum(tile.w, tile.panel.rows + b * kLanes);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[b][t] = start;
  }
  multiply<P, S, T>(tile, sum);
  alignas(64) float values[T * kBlocks * kLanes];
  const __m512 input_scale = _mm512_set1_ps(tile.args.input_scale);
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      _mm512_store_ps(values + (t * kBlocks + b) * kLanes,
                      dequantize(sum[b][t], tile.w, tile.panel.rows + b * kLanes, input_scale));
    }
  }
  finish_tile<kBlocks>(tile.w, tile.panel, tile.args, tile.first, T, values);
}

template <int P, int S, class Controls>
void run_tokens(const Tile<Controls>& tile, int64_t tokens) {
  switch (tokens) {
    case 1:
      return run_tile<P, S, 1>(tile);
    case 2:
      return run_tile<P, S, 2>(tile);
    case 3:
      return run_tile<P, S, 3>(tile);
    case 4:
      return run_tile<P, S, 4>(tile);
    case 5:
      return run_tile<P, S, 5>(tile);
    case 6:
      return run_tile<P, S, 6>(tile);
    default:
      break;
  }
  if constexpr (S < 4) {
    if (tokens == 7) return run_tile<P, S, 7>(tile);
    return run_tile<P, S, 8>(tile);
  }
}

// What fits 32 registers: 2 blocks x 8 tokens, 4 blocks x 6.
int64_t tokens_per_tile(const PackedWeights::Panel& panel) { return panel.shared == 4 ? 6 : 8; }

template <class Controls>
void run_panel(const Tile<Controls>& tile, int64_t tokens) {
  if (tile.panel.shared == 4) return run_tokens<1, 4>(tile, tokens);
  if (tile.panel.shared == 2) return run_tokens<1, 2>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<2, 1>(tile, tokens);
  return run_tokens<1, 1>(tile, tokens);
}

template <class Expand>
void expand_controls(const uint8_t* metadata, int64_t count, __m512i* controls) {
  for (int64_t i = 0; i < count; ++i) controls[i] = Expand::control(metadata + i * kLanes);
}

// Of a panel of up to 2 patterns.
size_t controls_bytes(const PackedWeights& w) { return w.k / 8 * 2 * sizeof(__m512i); }

size_t sparse_scratch(const PackedWeights& w, int64_t m) {
  return controls_bytes(w) + m * u8_stride(w.k);
}

// Expand::control(metadata): the metadata bytes of 16 lanes to a shuffle control.
template <class Expand>
void run_sparse(const PackedWeights& w, const MatmulArgs& args) {
  const int64_t stride = u8_stride(w.k);
  auto* controls = reinterpret_cast<__m512i*>(args.scratch);
  auto* x = reinterpret_cast<uint8_t*>(args.scratch + controls_bytes(w));
  activations_to_u8(static_cast<const int8_t*>(args.x), args.m, w.k, stride, x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    const auto& panel = w.panels[p];
    const uint8_t* metadata = w.metadata.as<uint8_t>() + panel.metadata;
    const int64_t step = tokens_per_tile(panel);
    if (args.m <= step) {
      run_panel(Tile<Compact<Expand>>{w, panel, args, {metadata}, x, stride, 0}, args.m);
      continue;
    }
    expand_controls<Expand>(metadata, w.k / 8 * (panel.blocks / panel.shared), controls);
    for (int64_t i = 0; i < args.m; i += step) {
      const Tile<Stored> tile{w, panel, args, {controls}, x + i * stride, stride, i};
      run_panel(tile, args.m - i < step ? args.m - i : step);
    }
  }
}

}  // namespace
}  // namespace twofour
