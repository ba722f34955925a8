// 2:4 f32 product: lanes are output rows. A group of 4 inputs is broadcast, vpermilps picks each
// lane's two, and two fmas do what takes a dense kernel four. Rows that share a pattern share the
// picking.
#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_avx512.h"

namespace twofour {
namespace {

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  int64_t first;  // row of x
};

// P patterns of S blocks each, T tokens. vpermilps looks at the two low bits of a control: the
// metadata byte itself for the first input, shifted by two for the second.
template <int P, int S, int T>
inline __attribute__((always_inline)) void multiply(const Tile& tile, F32x16 (&sum)[P * S][T]) {
  const float* weights = tile.w.weights.as<float>() + tile.panel.weights;
  const uint8_t* metadata = tile.w.metadata.as<uint8_t>() + tile.panel.metadata;
  const int64_t stride = tile.w.k;
  const float* x = static_cast<const float*>(tile.args.x) + tile.first * stride;
  for (const float* end = x + stride; x < end; x += 4) {
    __m512 w[P * S][2];
    __m512i first[P], second[P];
    for_each_index<P * S>([&](int b) TWOFOUR_LAMBDA {
      w[b][0] = _mm512_load_ps(weights + 2 * b * kLanes);
      w[b][1] = _mm512_load_ps(weights + (2 * b + 1) * kLanes);
    });
    for_each_index<P>([&](int p) TWOFOUR_LAMBDA {
      first[p] = _mm512_cvtepu8_epi32(
          _mm_load_si128(reinterpret_cast<const __m128i*>(metadata + p * kLanes)));
      second[p] = _mm512_srli_epi32(first[p], 2);
    });
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m512 group = _mm512_broadcast_f32x4(_mm_loadu_ps(x + t * stride));
      for_each_index<P>([&](int p) TWOFOUR_LAMBDA {
        const __m512 a = _mm512_permutevar_ps(group, first[p]);
        const __m512 b = _mm512_permutevar_ps(group, second[p]);
        for_each_index<S>([&](int s) TWOFOUR_LAMBDA {
          F32x16& total = sum[p * S + s][t];
          total = _mm512_fmadd_ps(a, w[p * S + s][0], total);
          total = _mm512_fmadd_ps(b, w[p * S + s][1], total);
        });
      });
    });
    weights += 2 * P * S * kLanes;
    metadata += P * kLanes;
  }
}

template <int P, int S, int T>
__attribute__((noinline)) void run_tile(const Tile& tile) {
  constexpr int kBlocks = P * S;
  F32x16 sum[kBlocks][T] = {};
  multiply<P, S, T>(tile, sum);
  alignas(64) float values[T * kBlocks * kLanes];
  const float* bias = tile.w.bias.as<float>() + tile.panel.rows;
  for_each_index<kBlocks * T>([&](int i) TWOFOUR_LAMBDA {
    const int b = i / T, t = i % T;
    store(values + (t * kBlocks + b) * kLanes, sum[b][t] + load(bias + b * kLanes));
  });
  finish_tile<kBlocks>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <int P, int S>
void run_tokens(const Tile& tile, int64_t tokens) {
  switch (tokens) {
    case 1:
      return run_tile<P, S, 1>(tile);
    case 2:
      return run_tile<P, S, 2>(tile);
    case 3:
      return run_tile<P, S, 3>(tile);
    case 4:
      return run_tile<P, S, 4>(tile);
    default:
      break;
  }
  if constexpr (S < 4) {
    if (tokens == 5) return run_tile<P, S, 5>(tile);
    if (tokens == 6) return run_tile<P, S, 6>(tile);
    if (tokens == 7) return run_tile<P, S, 7>(tile);
    return run_tile<P, S, 8>(tile);
  }
}

// What fits 32 registers: 2 blocks x 8 tokens, 4 blocks x 4.
int64_t tokens_per_tile(const PackedWeights::Panel& panel) { return panel.shared == 4 ? 4 : 8; }

void run_panel(const Tile& tile, int64_t tokens) {
  if (tile.panel.shared == 4) return run_tokens<1, 4>(tile, tokens);
  if (tile.panel.shared == 2) return run_tokens<1, 2>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<2, 1>(tile, tokens);
  return run_tokens<1, 1>(tile, tokens);
}

}  // namespace

void spmm24_f32_avx512(const PackedWeights& w, const MatmulArgs& args) {
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    const auto& panel = w.panels[p];
    const int64_t step = tokens_per_tile(panel);
    for (int64_t i = 0; i < args.m; i += step)
      run_panel(Tile{w, panel, args, i}, args.m - i < step ? args.m - i : step);
  }
}

}  // namespace twofour
