// 2:4 s8 product: see spmm24_s8_avx512vnni.cc; lanes are 8 output rows.
#include <cstring>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/s8_avx2.h"

namespace twofour {
namespace {

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const __m256i* controls;  // [k / 8][patterns]
  const int8_t* x;
  int64_t first;  // row of x
};

void expand_controls(const uint8_t* metadata, int64_t count, __m256i* controls) {
  const __m256i second_group = _mm256_set1_epi32(0x04040000);
  auto field = [](__m256i shifted, int mask) {
    return _mm256_and_si256(shifted, _mm256_set1_epi32(mask));
  };
  for (int64_t i = 0; i < count; ++i) {
    const __m256i b = _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(metadata + i * kLanes)));
    const __m256i low = _mm256_or_si256(field(b, 0x3), field(_mm256_slli_epi32(b, 6), 0x300));
    const __m256i high = _mm256_or_si256(field(_mm256_slli_epi32(b, 12), 0x30000),
                                         field(_mm256_slli_epi32(b, 18), 0x3000000));
    controls[i] = _mm256_or_si256(_mm256_or_si256(low, high), second_group);
  }
}

inline __m256i broadcast8(const int8_t* x) {
  int64_t word;
  std::memcpy(&word, x, sizeof word);
  return _mm256_set1_epi64x(word);
}

// P patterns of S blocks each, T tokens.
template <int P, int S, int T>
TWOFOUR_INLINE void multiply(const Tile& tile, __m256i (&sum)[P * S][T]) {
  const int8_t* weights = tile.w.weights.as<int8_t>() + tile.panel.weights;
  const __m256i* controls = tile.controls;
  for (int64_t j = 0; j < tile.w.k; j += 8) {
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256i activations = broadcast8(tile.x + t * tile.w.k + j);
      for_each_index<P>([&](int p) TWOFOUR_LAMBDA {
        const __m256i selected = _mm256_shuffle_epi8(activations, controls[p]);
        for_each_index<S>([&](int s) TWOFOUR_LAMBDA {
          const int b = p * S + s;
          dot(sum[b][t], selected, load_weights(weights + b * 32));
        });
      });
    });
    weights += P * S * 32;
    controls += P;
  }
}

template <int P, int S, int T>
__attribute__((noinline)) void run_tile(const Tile& tile) {
  constexpr int kBlocks = P * S;
  __m256i sum[kBlocks][T] = {};
  multiply<P, S, T>(tile, sum);
  alignas(32) float values[T * kBlocks * kLanes];
  dequantize(sum, tile.w, tile.panel.rows, tile.args.input_scale, values);
  finish_tile<kBlocks>({tile.w, tile.panel, tile.args, tile.first, T, values});
}

template <int P, int S>
void run_tokens(const Tile& tile, int64_t tokens) {
  if (tokens == 1) return run_tile<P, S, 1>(tile);
  if (tokens == 2) return run_tile<P, S, 2>(tile);
  if constexpr (S < 4) {
    if (tokens == 3) return run_tile<P, S, 3>(tile);
    return run_tile<P, S, 4>(tile);
  }
}

// What fits 16 registers: 2 blocks x 4 tokens, 4 blocks x 2.
int64_t tokens_per_tile(const PackedWeights::Panel& panel) { return panel.shared == 4 ? 2 : 4; }

void run_panel(const Tile& tile, int64_t tokens) {
  if (tile.panel.shared == 4) return run_tokens<1, 4>(tile, tokens);
  if (tile.panel.shared == 2) return run_tokens<1, 2>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<2, 1>(tile, tokens);
  return run_tokens<1, 1>(tile, tokens);
}

}  // namespace

// Shuffle controls of a panel of up to 2 patterns.
size_t spmm24_s8_avx2_scratch(const PackedWeights& w, int64_t) {
  return w.k / 8 * 2 * sizeof(__m256i);
}

void spmm24_s8_avx2(const PackedWeights& w, const MatmulArgs& args) {
  const auto* x = static_cast<const int8_t*>(args.x);
  auto* controls = reinterpret_cast<__m256i*>(args.scratch);
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
