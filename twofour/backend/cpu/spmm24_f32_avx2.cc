// 2:4 f32 product: as spmm24_f32_avx512.cc, with 8 lanes.
#include <immintrin.h>

#include <algorithm>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_avx2.h"

namespace twofour {
namespace {

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  int64_t first;  // row of x
};

// vpermilps looks at the two low bits of a control: the metadata byte itself for the first input,
// shifted by two for the second.
struct Pattern {
  __m256i first, second;
  TWOFOUR_INLINE explicit Pattern(const uint8_t* metadata)
      : first(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(metadata)))),
        second(_mm256_srli_epi32(first, 2)) {}
};

// Of intrinsics GCC 12 makes all selections first, for which there are no registers.
TWOFOUR_INLINE __m256 select(__m256 group, __m256i control) {
  __m256 selected;
  asm("vpermilps %2, %1, %0" : "=x"(selected) : "x"(group), "x"(control));
  return selected;
}
TWOFOUR_INLINE void multiply_add(__m256& sum, __m256 x, __m256 w) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
}

// Blocks [b, b + S) of B, which share pattern p of P.
template <int B, int P, int S, int T>
__attribute__((noinline)) void multiply_blocks(const Tile& tile, int b, int p, float* values) {
  __m256 sum[S][T];
  for_each_index<S * T>([&](int i) TWOFOUR_LAMBDA { sum[i / T][i % T] = _mm256_setzero_ps(); });
  const int64_t k = tile.w.k;
  const float* weights = tile.w.weights.as<float>() + tile.panel.weights + b * 2 * kLanes;
  const uint8_t* metadata = tile.w.metadata.as<uint8_t>() + tile.panel.metadata + p * kLanes;
  const float* x = static_cast<const float*>(tile.args.x) + tile.first * k;
  for (const float* end = x + k; x < end; x += 4) {
    const Pattern pattern(metadata);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256 group = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(x + t * k));
      const __m256 first = select(group, pattern.first), second = select(group, pattern.second);
      for_each_index<S>([&](int s) TWOFOUR_LAMBDA {
        multiply_add(sum[s][t], first, _mm256_load_ps(weights + s * 2 * kLanes));
        multiply_add(sum[s][t], second, _mm256_load_ps(weights + (s * 2 + 1) * kLanes));
      });
    });
    weights += B * 2 * kLanes;
    metadata += P * kLanes;
  }
  const float* bias = tile.w.bias.as<float>() + tile.panel.rows + b * kLanes;
  for_each_index<S * T>([&](int i) TWOFOUR_LAMBDA {
    const int s = i / T, t = i % T;
    _mm256_store_ps(values + (t * B + b + s) * kLanes,
                    _mm256_add_ps(sum[s][t], _mm256_load_ps(bias + s * kLanes)));
  });
}

// A panel of B blocks, S of which share a pattern at a time.
template <int B, int P, int S, int T>
void run_tile(const Tile& tile) {
  alignas(32) float values[T * B * kLanes];
  for (int b = 0; b < B; b += S) multiply_blocks<B, P, S, T>(tile, b, b * P / B, values);
  finish_tile<B>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

// What fits 16 registers beside two weights or controls of each block: a block x 8 tokens, 2 blocks
// x 4.
template <int S>
constexpr int kTokens = S == 1 ? 8 : 4;

template <int B, int P, int S, int T = kTokens<S>>
void run_tokens(const Tile& tile, int64_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return run_tokens<B, P, S, T - 1>(tile, tokens);
  }
  run_tile<B, P, S, T>(tile);
}

int64_t tokens_per_tile(const PackedWeights::Panel& panel) {
  return panel.shared == 1 ? kTokens<1> : kTokens<2>;
}

void run_panel(const Tile& tile, int64_t tokens) {
  if (tile.panel.shared == 4) return run_tokens<4, 1, 2>(tile, tokens);
  if (tile.panel.shared == 2) return run_tokens<2, 1, 2>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<2, 2, 1>(tile, tokens);
  return run_tokens<1, 1, 1>(tile, tokens);
}

}  // namespace

void spmm24_f32_avx2(const PackedWeights& w, const MatmulArgs& args) {
  for (const auto& panel :
       std::span(w.panels).subspan(args.panel_begin, args.panel_end - args.panel_begin)) {
    const int64_t step = tokens_per_tile(panel);
    for (int64_t i = 0; i < args.m; i += step)
      run_panel(Tile{w, panel, args, i}, std::min(step, args.m - i));
  }
}

}  // namespace twofour
