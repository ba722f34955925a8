// Dense s8 product: lanes are 8 output rows of 4 inputs each.
#include <cstring>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx2.h"

namespace twofour {
namespace {

// One block x 6 tokens at a time: 12 accumulators, 2 weights and 2 temporaries of the 16 registers.
constexpr int kTokens = 6;

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const int16_t* x;
  int64_t first;  // row of x
};

inline __m256i broadcast4(const int16_t* x) {
  int64_t word;
  std::memcpy(&word, x, sizeof word);
  return _mm256_set1_epi64x(word);
}

// Block `b` of B.
template <int B, int T>
__attribute__((noinline)) void multiply_block(const Tile& tile, int b, float* values) {
  BlockSum sum[1][T];
  const int64_t k = tile.w.k_padded;
  const int8_t* weights = tile.w.weights.as<int8_t>() + tile.panel.weights + b * 4 * kLanes;
  for (int64_t j = 0; j < k; j += 4, weights += B * 4 * kLanes) {
    const BlockWeights w(weights);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256i x = broadcast4(tile.x + t * k + j);
      for_each_index<2>([&](int h) TWOFOUR_LAMBDA { sum[0][t].add(h, x, w.half[h]); });
    });
  }
  dequantize<B>(sum, tile.w, tile.panel.rows + b * kLanes, tile.args.input_scale,
                values + b * kLanes);
}

template <int B, int T>
void run_tile(const Tile& tile) {
  alignas(32) float values[T * B * kLanes];
  for (int b = 0; b < B; ++b) multiply_block<B, T>(tile, b, values);
  finish_tile<B>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <int B, int T = kTokens>
void run_tokens(const Tile& tile, int64_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return run_tokens<B, T - 1>(tile, tokens);
  }
  run_tile<B, T>(tile);
}

}  // namespace

size_t matmul_s8_avx2_scratch(const PackedWeights& w, int64_t m) {
  return m * w.k_padded * sizeof(int16_t);
}

void matmul_s8_avx2(const PackedWeights& w, const MatmulArgs& args) {
  auto* x = reinterpret_cast<int16_t*>(args.scratch);
  widen(static_cast<const int8_t*>(args.x), args.m, w.k, w.k_padded, x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (int64_t i = 0; i < args.m; i += kTokens) {
      const Tile tile{w, w.panels[p], args, x + i * w.k_padded, i};
      const int64_t tokens = args.m - i < kTokens ? args.m - i : kTokens;
      tile.panel.blocks == 2 ? run_tokens<2>(tile, tokens) : run_tokens<1>(tile, tokens);
    }
  }
}

}  // namespace twofour
