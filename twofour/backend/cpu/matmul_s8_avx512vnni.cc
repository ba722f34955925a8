// Dense s8 product: lanes are 16 output rows, one vpdpbusd multiplies 4 inputs.
#include <cstring>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx512.h"

namespace twofour {
namespace {

// 3 blocks x 8 tokens: 24 accumulators, 3 weights, 1 activation of the 32 registers.
constexpr int kTokens = 8;

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const uint8_t* x;
  int64_t stride;
  int64_t first;  // row of x
};

inline __m512i broadcast4(const uint8_t* x) {
  int32_t word;
  std::memcpy(&word, x, sizeof word);
  return _mm512_set1_epi32(word);
}

template <int B, int T>
inline __attribute__((always_inline)) void multiply(const Tile& tile, __m512i (&sum)[B][T]) {
  const int8_t* weights = tile.w.weights.as<int8_t>() + tile.panel.weights;
  const uint8_t* x = tile.x;
  for (int64_t j = 0; j < tile.w.k_padded; j += 4) {
    __m512i w[B];
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) w[b] = _mm512_load_si512(weights + b * 64);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i activation = broadcast4(x + t * tile.stride);
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) dot(sum[b][t], activation, w[b]);
    }
    weights += B * 64;
    x += 4;
  }
}

template <int B, int T>
void run_tile(const Tile& tile) {
  __m512i sum[B][T];
#pragma GCC unroll 4
  for (int b = 0; b < B; ++b) {
    const __m512i start = start_sum(tile.w, tile.panel.rows + b * kLanes);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[b][t] = start;
  }
  multiply<B, T>(tile, sum);
  alignas(64) float values[T * B * kLanes];
  const __m512 input_scale = _mm512_set1_ps(tile.args.input_scale);
#pragma GCC unroll 4
  for (int b = 0; b < B; ++b) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      _mm512_store_ps(values + (t * B + b) * kLanes,
                      dequantize(sum[b][t], tile.w, tile.panel.rows + b * kLanes, input_scale));
    }
  }
  finish_tile<B>(tile.w, tile.panel, tile.args, tile.first, T, values);
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
    case 4:
      return run_tile<B, 4>(tile);
    case 5:
      return run_tile<B, 5>(tile);
    case 6:
      return run_tile<B, 6>(tile);
    case 7:
      return run_tile<B, 7>(tile);
    default:
      return run_tile<B, 8>(tile);
  }
}

void run_panel(const Tile& tile, int64_t tokens) {
  if (tile.panel.blocks == 1) return run_tokens<1>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<2>(tile, tokens);
  return run_tokens<3>(tile, tokens);
}

}  // namespace

size_t matmul_s8_avx512vnni_scratch(const PackedWeights& w, int64_t m) {
  return m * u8_stride(w.k_padded);
}

void matmul_s8_avx512vnni(const PackedWeights& w, const MatmulArgs& args) {
  const int64_t stride = u8_stride(w.k_padded);
  auto* x = reinterpret_cast<uint8_t*>(args.scratch);
  activations_to_u8(static_cast<const int8_t*>(args.x), args.m, w.k, stride, x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (int64_t i = 0; i < args.m; i += kTokens) {
      const Tile tile{w, w.panels[p], args, x + i * stride, stride, i};
      run_panel(tile, args.m - i < kTokens ? args.m - i : kTokens);
    }
  }
}

}  // namespace twofour
