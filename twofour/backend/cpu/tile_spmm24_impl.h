// Included once by each file that compiles it for an instruction set, behind the header of a type.
//
// 2:4 product of int8 or bf16: a lane's non-zeros, 4 or 2, come from 8 bytes of a token, which are
// broadcast; vpshufb picks each lane's, and one product does what takes a dense kernel two. Rows
// that share a pattern share the shuffle. Type is S8 or Bf16, with the registers of its instruction
// set.
#pragma once

#include <algorithm>
#include <cstdint>

namespace twofour {
namespace {

// Steps of 8 bytes of a row of activations.
template <class Type>
int64_t steps(const PackedWeights& w) {
  return w.k * Type::kElementBytes / 8;
}

// Controls of a panel, [step][pattern]: expanded once for many tokens, since inside the product
// it costs the whole gain, or expanded on the fly for a single tile, where memory is the limit.
template <class Type>
struct Stored {
  const typename Type::Vector* controls;
  auto load(int64_t i) const { return controls[i]; }
};
template <class Expand>
struct Compact {
  const uint8_t* metadata;
  auto load(int64_t i) const { return Expand::control(metadata + i * kLanes); }
};

template <class Controls>
struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  Controls controls;
  const std::byte* x;
  int64_t stride;
  int64_t first;  // row of x
};

// P patterns of S blocks each, T tokens.
template <class Type, int P, int S, int T, class Controls>
inline __attribute__((always_inline)) void multiply(const Tile<Controls>& tile,
                                                    typename Type::Sum (&sum)[P * S][T]) {
  const std::byte* weights = tile.w.weights.data() + tile.panel.weights * Type::kElementBytes;
  const std::byte* x = tile.x;
  const int64_t controls = steps<Type>(tile.w) * P;
  for (int64_t c = 0; c < controls; c += P) {
    typename Type::Vector w[P * S], control[P];
    for_each_index<P * S>([&](int b)
                              TWOFOUR_LAMBDA { w[b] = Type::load(weights + b * 4 * kLanes); });
    for_each_index<P>([&](int p) TWOFOUR_LAMBDA { control[p] = tile.controls.load(c + p); });
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const auto activations = Type::broadcast8(x + t * tile.stride);
      for_each_index<P>([&](int p) TWOFOUR_LAMBDA {
        const auto selected = Type::select(activations, control[p]);
        for_each_index<S>(
            [&](int s) TWOFOUR_LAMBDA { Type::dot(sum[p * S + s][t], selected, w[p * S + s]); });
      });
    });
    weights += P * S * 4 * kLanes;
    x += 8;
  }
}

template <class Type, int P, int S, int T, class Controls>
__attribute__((noinline)) void run_tile(const Tile<Controls>& tile) {
  constexpr int kBlocks = P * S;
  typename Type::Sum sum[kBlocks][T];
  for_each_index<kBlocks * T>([&](int i) TWOFOUR_LAMBDA {
    sum[i / T][i % T] = Type::start(tile.w, tile.panel.rows + i / T * kLanes);
  });
  multiply<Type, P, S, T>(tile, sum);
  alignas(64) float values[T * kBlocks * kLanes];
  for_each_index<kBlocks>([&](int b) TWOFOUR_LAMBDA {
    const typename Type::Finish finish(tile.w, tile.panel.rows + b * kLanes, tile.args.input_scale);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      Type::store(values + (t * kBlocks + b) * kLanes, finish(sum[b][t]));
    });
  });
  finish_tile<kBlocks>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <class Type>
constexpr int tokens_per_tile(int shared) {
  return shared == 4 ? Type::kQuadTokens : Type::kSparseTokens;
}

template <class Type, int P, int S, int T, class Controls>
void run_tokens(const Tile<Controls>& tile, int64_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return run_tokens<Type, P, S, T - 1>(tile, tokens);
  }
  run_tile<Type, P, S, T>(tile);
}

template <class Type, class Controls>
void run_panel(const Tile<Controls>& tile, int64_t tokens) {
  if (tile.panel.shared == 4) return run_tokens<Type, 1, 4, tokens_per_tile<Type>(4)>(tile, tokens);
  if (tile.panel.shared == 2) return run_tokens<Type, 1, 2, tokens_per_tile<Type>(2)>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<Type, 2, 1, tokens_per_tile<Type>(1)>(tile, tokens);
  return run_tokens<Type, 1, 1, tokens_per_tile<Type>(1)>(tile, tokens);
}

template <class Type, class Expand>
void expand_controls(const uint8_t* metadata, int64_t count, typename Type::Vector* controls) {
  for (int64_t i = 0; i < count; ++i) controls[i] = Expand::control(metadata + i * kLanes);
}

// Of a panel of up to 2 patterns.
template <class Type>
size_t controls_bytes(const PackedWeights& w) {
  return steps<Type>(w) * 2 * sizeof(typename Type::Vector);
}

template <class Type>
size_t sparse_scratch(const PackedWeights& w, int64_t m) {
  return controls_bytes<Type>(w) + m * laid_out_stride(w.k * Type::kElementBytes);
}

// Expand::control(metadata): the metadata bytes of a vector's lanes to a shuffle control.
template <class Type, class Expand>
void run_sparse(const PackedWeights& w, const MatmulArgs& args) {
  const int64_t stride = laid_out_stride(w.k * Type::kElementBytes);
  auto* controls = reinterpret_cast<typename Type::Vector*>(args.scratch);
  std::byte* x = args.scratch + controls_bytes<Type>(w);
  Type::lay_out(args.x, args.m, w.k, stride, x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    const auto& panel = w.panels[p];
    const uint8_t* metadata = w.metadata.as<uint8_t>() + panel.metadata;
    const int64_t step = tokens_per_tile<Type>(panel.shared);
    if (args.m <= step) {
      run_panel<Type>(Tile<Compact<Expand>>{w, panel, args, {metadata}, x, stride, 0}, args.m);
      continue;
    }
    expand_controls<Type, Expand>(metadata, steps<Type>(w) * (panel.blocks / panel.shared),
                                  controls);
    for (int64_t i = 0; i < args.m; i += step) {
      const Tile<Stored<Type>> tile{w, panel, args, {controls}, x + i * stride, stride, i};
      run_panel<Type>(tile, std::min(step, args.m - i));
    }
  }
}

}  // namespace
}  // namespace twofour
