// Dense s8 product: lanes are 8 output rows of 4 inputs each.
//
// Activations and weights meet as 16-bit numbers (vpmaddwd). vpmaddubsw would take half as many
// multiplications, but it saturates at 255 x 127 unless another instruction moves the sign, which
// was the slower way (docs/kernels.md). Weights stay bytes in memory.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_avx2.h"

namespace twofour {
namespace {

// [m, k] to 16 bits, rows `stride` elements apart, zeros behind k.
inline void widen(const int8_t* x, int64_t m, int64_t k, int64_t stride, int16_t* out) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < k; ++j) out[i * stride + j] = x[i * k + j];
    for (int64_t j = k; j < stride; ++j) out[i * stride + j] = 0;
  }
}

// The weights of a block of 8 lanes, 4 bytes each: lanes 0 to 3, then 4 to 7.
struct BlockWeights {
  __m256i half[2];
  TWOFOUR_INLINE explicit BlockWeights(const int8_t* p) {
    const auto* bytes = reinterpret_cast<const __m128i*>(p);
    half[0] = _mm256_cvtepi8_epi16(_mm_load_si128(bytes));
    half[1] = _mm256_cvtepi8_epi16(_mm_load_si128(bytes + 1));
  }
};

// Of intrinsics GCC 12 makes all products first, for which there are no registers.
TWOFOUR_INLINE void multiply_add(__m256i& sum, __m256i x, __m256i w) {
  __m256i products;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(products) : "x"(x), "x"(w));
}

// Of each lane's first and last two bytes, lanes 0 to 3 and 4 to 7, by lane.
TWOFOUR_INLINE __m256i total(__m256i low, __m256i high) {
  const __m256i pairs = _mm256_hadd_epi32(low, high);  // lanes 0 1 4 5, 2 3 6 7
  return _mm256_permute4x64_epi64(pairs, 0b11011000);
}

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
  __m256i sum[2][T];
  for_each_index<2 * T>([&](int i) TWOFOUR_LAMBDA { sum[i / T][i % T] = _mm256_setzero_si256(); });
  const int64_t k = tile.w.k_padded;
  const int8_t* weights = tile.w.weights.as<int8_t>() + tile.panel.weights + b * 4 * kLanes;
  for (int64_t j = 0; j < k; j += 4, weights += B * 4 * kLanes) {
    const BlockWeights w(weights);
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
      const __m256i x = broadcast4(tile.x + t * k + j);
      for_each_index<2>([&](int h) TWOFOUR_LAMBDA { multiply_add(sum[h][t], x, w.half[h]); });
    });
  }
  dequantize<T>([&](int t) TWOFOUR_LAMBDA { return total(sum[0][t], sum[1][t]); }, tile.w,
                tile.panel.rows + b * kLanes, tile.args.input_scale,
                {values + b * kLanes, B * kLanes});
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
