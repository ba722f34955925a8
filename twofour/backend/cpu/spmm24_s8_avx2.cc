// 2:4 s8 product: as tile_spmm24_impl.h, with 8 lanes and numbers of 16 bits.
#include <cstring>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx2.h"

namespace twofour {
namespace {

// Shuffle controls of lanes 0 to 3, then 4 to 7.
struct Controls {
  __m256i half[2];
};

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const Controls* controls;  // [k / 8][patterns]
  const int16_t* x;
  int64_t first;  // row of x
};

// Four 2-bit fields of a byte become the positions of four 16-bit numbers: the first two among
// inputs 0 to 3, the others among 4 to 7.
inline __m256i expand(const uint8_t* metadata) {
  int32_t bytes;
  std::memcpy(&bytes, metadata, sizeof bytes);
  const __m256i m = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes));
  const __m256i first = _mm256_or_si256(m, _mm256_slli_epi64(m, 14));
  const __m256i fields =
      _mm256_and_si256(_mm256_or_si256(first, _mm256_slli_epi64(first, 28)), _mm256_set1_epi16(3));
  return _mm256_add_epi16(_mm256_mullo_epi16(fields, _mm256_set1_epi16(0x0202)),
                          _mm256_set1_epi64x(0x0908090801000100));
}

void expand_controls(const uint8_t* metadata, int64_t count, Controls* controls) {
  for (int64_t i = 0; i < count; ++i, metadata += kLanes)
    controls[i] = {{expand(metadata), expand(metadata + kLanes / 2)}};
}

inline __m256i broadcast8(const int16_t* x) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

// Blocks [b, b + S) of B, which share pattern p of P.
template <int B, int P, int S, int T>
__attribute__((noinline)) void multiply_blocks(const Tile& tile, int b, int p, float* values) {
  BlockSum sum[S][T];
  const int64_t k = tile.w.k;
  const int8_t* weights = tile.w.weights.as<int8_t>() + tile.panel.weights + b * 4 * kLanes;
  const Controls* controls = tile.controls + p;
  for (int64_t j = 0; j < k; j += 8, weights += B * 4 * kLanes, controls += P) {
    __m256i w[S][2];
    for_each_index<2 * S>([&](int i) TWOFOUR_LAMBDA {
      w[i / 2][i % 2] =
          _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(weights + i * 16)));
    });
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256i activations = broadcast8(tile.x + t * k + j);
      for_each_index<2>([&](int h) TWOFOUR_LAMBDA {
        const __m256i selected = _mm256_shuffle_epi8(activations, controls->half[h]);
        for_each_index<S>([&](int s) TWOFOUR_LAMBDA { sum[s][t].add(h, selected, w[s][h]); });
      });
    });
  }
  dequantize<B>(sum, tile.w, tile.panel.rows + b * kLanes, tile.args.input_scale,
                values + b * kLanes);
}

// A panel of B blocks, S of which share a pattern at a time.
template <int B, int P, int S, int T>
void run_tile(const Tile& tile) {
  alignas(32) float values[T * B * kLanes];
  for (int b = 0; b < B; b += S) multiply_blocks<B, P, S, T>(tile, b, b * P / B, values);
  finish_tile<B>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

// What fits 16 registers: a block x 4 tokens, 2 blocks x 2.
template <int S>
constexpr int kTokens = S == 1 ? 4 : 2;

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

// Of a panel of up to 2 patterns.
size_t controls_bytes(const PackedWeights& w) { return w.k / 8 * 2 * sizeof(Controls); }

}  // namespace

size_t spmm24_s8_avx2_scratch(const PackedWeights& w, int64_t m) {
  return controls_bytes(w) + m * w.k * sizeof(int16_t);
}

void spmm24_s8_avx2(const PackedWeights& w, const MatmulArgs& args) {
  auto* controls = reinterpret_cast<Controls*>(args.scratch);
  auto* x = reinterpret_cast<int16_t*>(args.scratch + controls_bytes(w));
  widen(static_cast<const int8_t*>(args.x), args.m, w.k, w.k, x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    const auto& panel = w.panels[p];
    expand_controls(w.metadata.as<uint8_t>() + panel.metadata,
                    w.k / 8 * (panel.blocks / panel.shared), controls);
    const int64_t step = tokens_per_tile(panel);
    for (int64_t i = 0; i < args.m; i += step) {
      const Tile tile{w, panel, args, controls, x + i * w.k, i};
      run_panel(tile, args.m - i < step ? args.m - i : step);
    }
  }
}

}  // namespace twofour
