// Included once by each file that compiles it for an instruction set, behind the header of a type.
//
// Products with AMX, dense or 2:4. A panel of 32 output rows meets 32 tokens at a time. Its tiles
// of B come from `Weights`, which may make them as they are first needed. Type is S8Amx or Bf16Amx.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace twofour {
namespace {

constexpr int kPanelBlocks = 2;
constexpr int64_t kTokens = 2 * kTileRows;

// Where tiles of A are, whole ones.
struct Activations {
  const std::byte* data;
  int64_t stride;
};

// Where tiles of B are: from row to row of one, from tile to tile, from step to step. After
// `mask` steps, one less than a power of 2, they start over.
struct Operand {
  const std::byte* data;
  int64_t row, tile, step;
  int64_t mask = -1;  // of steps
};

// Sums of T tiles of tokens and B of output rows. `meanwhile(i)` runs 2 * steps times, between the
// products: the processor looks only some hundred instructions ahead, so work for the vector units
// must stand among what the accelerator does.
template <class Type, int T, int B, class Meanwhile>
TWOFOUR_INLINE void multiply_tiles(const Activations& x, int64_t first, const Operand& b,
                                   int64_t steps, Meanwhile meanwhile) {
  zero_tile<kC>();
  if constexpr (B == 2) zero_tile<kC + 1>();
  if constexpr (T == 2) zero_tile<kC + 2>();
  if constexpr (T == 2 && B == 2) zero_tile<kC + 3>();
  const std::byte* a = x.data + first * x.stride;
  for (int64_t j = 0; j < steps; ++j) {
    const std::byte* b_tile = b.data + (j & b.mask) * b.step;
    load_tile<kB>(b_tile, b.row);
    load_tile<kA>(a, x.stride);
    Type::template dot_tiles<kC, kA, kB>();
    if constexpr (T == 2) {
      load_tile<kA + 1>(a + kTileRows * x.stride, x.stride);
      Type::template dot_tiles<kC + 2, kA + 1, kB>();
    }
    meanwhile(2 * j);
    if constexpr (B == 2) {
      load_tile<kB + 1>(b_tile + b.tile, b.row);
      Type::template dot_tiles<kC + 1, kA, kB + 1>();
      if constexpr (T == 2) Type::template dot_tiles<kC + 3, kA + 1, kB + 1>();
    }
    meanwhile(2 * j + 1);
    a += kTileRowBytes;
  }
}

// Sums of up to kTokens tokens that wait for their epilogue.
template <class Type, int B>
struct PendingSums {
  const PackedWeights& w;
  const MatmulArgs& args;
  const float* values;  // [kTokens, B, kLanes]
  Quantizer quantizer;
  const PackedWeights::Panel* panel = nullptr;
  int64_t first = 0;
  int tokens = 0, done = 0;
  typename Type::Finish finish[B] = {};
};

template <class Type, int B, class Activation>
TWOFOUR_INLINE void finish_tokens(PendingSums<Type, B>& sums, int end, Activation activation) {
  const Epilogue& epilogue = sums.args.epilogue;
  const Quantizer quantizer = sums.quantizer;
  const int64_t n = sums.w.n, rows = sums.panel->row_count;
  const int64_t first = (sums.first + sums.done) * n + sums.panel->first_row;
  for_each_index<B>([&](int b) TWOFOUR_LAMBDA {
    const typename Type::Finish finish = sums.finish[b];
    const int64_t lanes = std::min<int64_t>(kLanes, rows - b * kLanes);
    const float* values = sums.values + (sums.done * B + b) * kLanes;
    float* y = sums.args.y == nullptr ? nullptr : sums.args.y + first + b * kLanes;
    int8_t* quantized =
        epilogue.quantized == nullptr ? nullptr : epilogue.quantized + first + b * kLanes;
    const auto finish_next = [&]<int N>() TWOFOUR_LAMBDA {
      const auto x = activation(side_by_side<N>([&](int t) TWOFOUR_LAMBDA {
        return static_cast<F32x16>(Type::finish(values + t * B * kLanes, finish));
      }));
      values += N * B * kLanes;
      if (y != nullptr) {
        for_each_index<N>([&](int t) TWOFOUR_LAMBDA { store_lanes16(y + t * n, lanes, x.v[t]); });
        y += N * n;
      }
      if (quantized != nullptr) {
        const auto q = quantizer(x);
        for_each_index<N>([&](int t)
                              TWOFOUR_LAMBDA { store_lanes16(quantized + t * n, lanes, q.v[t]); });
        quantized += N * n;
      }
    };
    int t = sums.done;
    for (; t + kSeveral <= end; t += kSeveral) finish_next.template operator()<kSeveral>();
    for (; t < end; ++t) finish_next.template operator()<1>();
  });
  sums.done = end;
}

// Finishes tokens up to `end`.
template <class Type, int B>
using FinishSome = void (*)(PendingSums<Type, B>& sums, int end);

template <class Type, int B>
FinishSome<Type, B> select_finish(const std::optional<ActivationKind>& activation) {
  FinishSome<Type, B> found = [](PendingSums<Type, B>& sums, int end) {
    finish_tokens(sums, end, [](const auto& x) TWOFOUR_LAMBDA { return x; });
  };
  if (!activation) return found;
  with_activation(*activation, [&](auto function) {
    found = [](PendingSums<Type, B>& sums, int end) {
      finish_tokens(sums, end, decltype(function){});
    };
  });
  return found;
}

template <int T, int B>
TWOFOUR_INLINE void store_tiles(float* values) {
  constexpr int64_t kRow = B * kTileRowBytes;
  store_tile<kC>(values, kRow);
  if constexpr (B == 2) store_tile<kC + 1>(values + kLanes, kRow);
  if constexpr (T == 2) {
    float* second = values + kTileRows * B * kLanes;
    store_tile<kC + 2>(second, kRow);
    if constexpr (B == 2) store_tile<kC + 3>(second + kLanes, kRow);
  }
}

template <class Type>
int64_t amx_steps(const PackedWeights& w) {
  return w.k_padded * Type::kElementBytes / kTileRowBytes;
}

// An odd number of cache lines, so that the rows of a tile spread over all sets of the first-level
// cache: where activations lie as they come, it holds too little of them.
template <class Type>
int64_t amx_stride(const PackedWeights& w) {
  return (amx_steps<Type>(w) | 1) * kTileRowBytes;
}

inline int64_t whole_tiles(int64_t tokens) {
  return (tokens + kTileRows - 1) / kTileRows * kTileRows;
}

template <class Type>
size_t activation_bytes(const PackedWeights& w, int64_t m) {
  return whole_tiles(m) * amx_stride<Type>(w);
}

template <class Type>
Activations lay_out_activations(const PackedWeights& w, const MatmulArgs& args, std::byte* out) {
  const int64_t stride = amx_stride<Type>(w);
  Type::lay_out(args.x, args.m, w.k, stride, out);
  return {out, stride};  // rows of a tile past the last token reach only sums that are not kept
}

// Panels of B blocks, from `begin` on. make_weights(panel) says where tiles of B are: begin() for
// the first tokens, with prepare(part) twice in each step, then ready().
template <class Type, int B, class MakeWeights>
void run_amx_panels(const PackedWeights& w, const MatmulArgs& args, const Activations& x,
                    int64_t begin, int64_t end, MakeWeights make_weights) {
  alignas(64) float values[kTokens * B * kLanes];
  const int64_t steps = amx_steps<Type>(w);
  const FinishSome<Type, B> finish_some = select_finish<Type, B>(args.epilogue.activation);
  PendingSums<Type, B> pending{w, args, values,
                               Quantizer(args.epilogue.output_scale, args.epilogue.output_offset)};
  for (int64_t p = begin; p < end; ++p) {
    const auto weights = make_weights(w.panels[p]);
    for (int64_t first = 0; first < args.m; first += kTokens) {
      const auto go_on = [&](int64_t part) TWOFOUR_LAMBDA {
        const bool last = part + 1 == 2 * steps;
        const auto goal = static_cast<int>(pending.tokens * (part + 1) / (2 * steps));
        const int end = last ? goal : goal / kSeveral * kSeveral;
        if (end > pending.done) finish_some(pending, end);
      };
      const auto multiply = [&]<int T>() TWOFOUR_LAMBDA {
        if (first == 0) {
          multiply_tiles<Type, T, B>(x, first, weights.begin(), steps,
                                     [&](int64_t part) TWOFOUR_LAMBDA {
                                       weights.prepare(part);
                                       go_on(part);
                                     });
        } else {
          multiply_tiles<Type, T, B>(x, first, weights.ready(), steps, go_on);
        }
        store_tiles<T, B>(values);
      };
      const int64_t tokens = std::min(kTokens, args.m - first);
      tokens > kTileRows ? multiply.template operator()<2>() : multiply.template operator()<1>();
      pending.panel = &w.panels[p];
      pending.first = first;
      pending.tokens = static_cast<int>(tokens);
      pending.done = 0;
      for (int b = 0; b < B; ++b)
        pending.finish[b] = {w, w.panels[p].rows + b * kLanes, args.input_scale};
    }
  }
  if (pending.tokens > 0) finish_some(pending, pending.tokens);
}

// Rows [first, first + m) of what `args` computes.
template <class Type>
MatmulArgs some_rows(const PackedWeights& w, MatmulArgs args, int64_t first, int64_t m) {
  args.x = static_cast<const std::byte*>(args.x) + first * w.k * sizeof(typename Type::Input);
  if (args.y != nullptr) args.y += first * w.n;
  if (args.epilogue.quantized != nullptr) args.epilogue.quantized += first * w.n;
  args.m = m;
  return args;
}

// make_weights.operator()<B>(panel) for panels of B blocks; only the last may have fewer than
// kPanelBlocks.
template <class Type, class MakeWeights>
void run_amx(const PackedWeights& w, const MatmulArgs& args, std::byte* scratch,
             MakeWeights make_weights) {
  const Activations x = lay_out_activations<Type>(w, args, scratch);
  const TilesInUse tiles(static_cast<int>(std::min<int64_t>(args.m, kTileRows)));
  int64_t whole = args.panel_end;
  if (whole > args.panel_begin && w.panels[whole - 1].blocks < kPanelBlocks) --whole;
  run_amx_panels<Type, kPanelBlocks>(w, args, x, args.panel_begin, whole,
                                     [&](const PackedWeights::Panel& panel) {
                                       return make_weights.template operator()<kPanelBlocks>(panel);
                                     });
  run_amx_panels<Type, 1>(w, args, x, whole, args.panel_end,
                          [&](const PackedWeights::Panel& panel) {
                            return make_weights.template operator()<1>(panel);
                          });
}

}  // namespace
}  // namespace twofour
