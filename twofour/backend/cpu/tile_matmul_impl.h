// Included once by each file that compiles it for an instruction set, behind the header of a type.
//
// Dense product of int8 or bf16: lanes are output rows, one instruction multiplies the 4 bytes of a
// lane, 4 inputs or 2. Type is S8 or Bf16 of that header, with its registers.
#pragma once

#include <algorithm>
#include <cstdint>

namespace twofour {
namespace {

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const std::byte* x;
  int64_t stride;
  int64_t first;  // row of x
};

template <class Type, int B, int T>
inline __attribute__((always_inline)) void multiply(const Tile& tile,
                                                    typename Type::Sum (&sum)[B][T]) {
  const std::byte* weights = tile.w.weights.data() + tile.panel.weights * Type::kElementBytes;
  const std::byte* x = tile.x;
  for (int64_t j = 0; j < tile.w.k_padded * Type::kElementBytes; j += 4) {
    typename Type::Vector w[B];
    for_each_index<B>([&](int b) TWOFOUR_LAMBDA { w[b] = Type::load(weights + b * 4 * kLanes); });
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const auto activation = Type::broadcast4(x + t * tile.stride);
      for_each_index<B>([&](int b) TWOFOUR_LAMBDA { Type::dot(sum[b][t], activation, w[b]); });
    });
    weights += B * 4 * kLanes;
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
      Type::store(values + (t * B + b) * kLanes, finish(sum[b][t]));
    });
  });
  finish_tile<B>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <class Type, int B, int T = Type::kDenseTokens>
void run_tokens(const Tile& tile, int64_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return run_tokens<Type, B, T - 1>(tile, tokens);
  }
  run_tile<Type, B, T>(tile);
}

template <class Type, int B = Type::kDenseBlocks>
void run_panel(const Tile& tile, int64_t tokens) {
  if constexpr (B > 1) {
    if (tile.panel.blocks < B) return run_panel<Type, B - 1>(tile, tokens);
  }
  run_tokens<Type, B>(tile, tokens);
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
    for (int64_t i = 0; i < args.m; i += Type::kDenseTokens) {
      const Tile tile{w, w.panels[p], args, args.scratch + i * stride, stride, i};
      run_panel<Type>(tile, std::min<int64_t>(Type::kDenseTokens, args.m - i));
    }
  }
}

}  // namespace
}  // namespace twofour
