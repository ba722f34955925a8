// Dense s8 product: lanes are 8 output rows of 4 inputs each.
#include <cstring>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx2.h"

namespace twofour {
namespace {

// 2 blocks x 4 tokens: 8 accumulators, 2 weights and temporaries of the 16 registers.
constexpr int kTokens = 4;

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const int8_t* x;
  int64_t first;  // row of x
};

inline __m256i broadcast4(const int8_t* x) {
  int32_t word;
  std::memcpy(&word, x, sizeof word);
  return _mm256_set1_epi32(word);
}

template <int B, int T>
__attribute__((noinline)) void run_tile(const Tile& tile) {
  __m256i sum[B][T] = {};
  const int8_t* weights = tile.w.weights.as<int8_t>() + tile.panel.weights;
  const int64_t k = tile.w.k_padded;
  for (int64_t j = 0; j < k; j += 4) {
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256i x = broadcast4(tile.x + t * k + j);
      for_each_index<B>([&](int b)
                            TWOFOUR_LAMBDA { dot(sum[b][t], x, load_weights(weights + b * 32)); });
    });
    weights += B * 32;
  }
  alignas(32) float values[T * B * kLanes];
  dequantize(sum, tile.w, tile.panel.rows, tile.args.input_scale, values);
  finish_tile<B>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <int B>
void run_tokens(const Tile& tile, int64_t tokens) {
  switch (tokens) {
    case 1:
      return run_tile<B, 1>(tile);
    case 2:
      return run_tile<B, 2>(tile);
    case 3:
      return run_tile<B, 3>(tile);
    default:
      return run_tile<B, 4>(tile);
  }
}

// The activations, copied with zeros behind each row where k has a tail.
const int8_t* padded(const PackedWeights& w, const MatmulArgs& args) {
  const auto* x = static_cast<const int8_t*>(args.x);
  if (w.k == w.k_padded) return x;
  auto* out = reinterpret_cast<int8_t*>(args.scratch);
  for (int64_t i = 0; i < args.m; ++i) {
    std::memcpy(out + i * w.k_padded, x + i * w.k, w.k);
    std::memset(out + i * w.k_padded + w.k, 0, w.k_padded - w.k);
  }
  return out;
}

}  // namespace

size_t matmul_s8_avx2_scratch(const PackedWeights& w, int64_t m) {
  return w.k == w.k_padded ? 0 : m * w.k_padded;
}

void matmul_s8_avx2(const PackedWeights& w, const MatmulArgs& args) {
  const int8_t* x = padded(w, args);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (int64_t i = 0; i < args.m; i += kTokens) {
      const Tile tile{w, w.panels[p], args, x + i * w.k_padded, i};
      const int64_t tokens = args.m - i < kTokens ? args.m - i : kTokens;
      tile.panel.blocks == 2 ? run_tokens<2>(tile, tokens) : run_tokens<1>(tile, tokens);
    }
  }
}

}  // namespace twofour
