// Included once by each file that compiles it for an instruction set.
//
// Dense product of int8 or bf16: lanes are 16 output rows, one instruction multiplies the 4 bytes
// of a lane, 4 inputs or 2.
#pragma once

#include <cstring>

#include "twofour/backend/cpu/tile_avx512.h"

namespace twofour {
namespace {

// 3 blocks x 8 tokens: 24 accumulators, 3 weights, 1 activation of the 32 registers.
constexpr int kTokens = 8;

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const std::byte* x;
  int64_t stride;
  int64_t first;  // row of x
};

inline __m512i broadcast4(const std::byte* x) {
  int32_t word;
  std::memcpy(&word, x, sizeof word);
  return _mm512_set1_epi32(word);
}

template <class Type, int B, int T>
inline __attribute__((always_inline)) void multiply(const Tile& tile,
                                                    typename Type::Sum (&sum)[B][T]) {
  const std::byte* weights = tile.w.weights.data() + tile.panel.weights * Type::kElementBytes;
  const std::byte* x = tile.x;
  for (int64_t j = 0; j < tile.w.k_padded * Type::kElementBytes; j += 4) {
    __m512i w[B];
    for_each_index<B>([&](int b) TWOFOUR_LAMBDA { w[b] = _mm512_load_si512(weights + b * 64); });
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m512i activation = broadcast4(x + t * tile.stride);
      for_each_index<B>([&](int b) TWOFOUR_LAMBDA { Type::dot(sum[b][t], activation, w[b]); });
    });
    weights += B * 64;
    x += 4;
  }
}

template <class Type, int B, int T>
__attribute__((noinline)) void run_tile(const Tile& tile) {
  typename Type::Sum sum[B][T];
  for_each_index<B * T>([&](int i) TWOFOUR_LAMBDA {
    sum[i / T][i % T] = Type::start(tile.w, tile.panel.rows + i / T * kLanes);
  });
  multiply<Type, B, T>(tile, sum);
  alignas(64) float values[T * B * kLanes];
  for_each_index<B>([&](int b) TWOFOUR_LAMBDA {
    const typename Type::Finish finish(tile.w, tile.panel.rows + b * kLanes, tile.args.input_scale);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      _mm512_store_ps(values + (t * B + b) * kLanes, finish(sum[b][t]));
    });
  });
  finish_tile<B>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <class Type, int B>
void run_tokens(const Tile& tile, int64_t tokens) {
  switch (tokens) {
    case 1:
      return run_tile<Type, B, 1>(tile);
    case 2:
      return run_tile<Type, B, 2>(tile);
    case 3:
      return run_tile<Type, B, 3>(tile);
    case 4:
      return run_tile<Type, B, 4>(tile);
    case 5:
      return run_tile<Type, B, 5>(tile);
    case 6:
      return run_tile<Type, B, 6>(tile);
    case 7:
      return run_tile<Type, B, 7>(tile);
    default:
      return run_tile<Type, B, 8>(tile);
  }
}

template <class Type>
void run_panel(const Tile& tile, int64_t tokens) {
  if (tile.panel.blocks == 1) return run_tokens<Type, 1>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<Type, 2>(tile, tokens);
  return run_tokens<Type, 3>(tile, tokens);
}

template <class Type>
size_t dense_scratch(const PackedWeights& w, int64_t m) {
  return m * laid_out_stride(w.k_padded * Type::kElementBytes);
}

template <class Type>
void run_dense(const PackedWeights& w, const MatmulArgs& args) {
  const int64_t stride = laid_out_stride(w.k_padded * Type::kElementBytes);
  Type::lay_out(args.x, args.m, w.k, stride, args.scratch);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (int64_t i = 0; i < args.m; i += kTokens) {
      const Tile tile{w, w.panels[p], args, args.scratch + i * stride, stride, i};
      run_panel<Type>(tile, args.m - i < kTokens ? args.m - i : kTokens);
    }
  }
}

}  // namespace
}  // namespace twofour
