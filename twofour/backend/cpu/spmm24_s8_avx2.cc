// 2:4 s8 product: lanes are 8 output rows; a lane's four non-zeros come from 8 inputs of a token.
//
// vpmaddubsw multiplies unsigned by signed bytes and saturates at 16 bits. So weights come as
// magnitudes, whose pairs of products stay below (2 * 128 * 127: a weight may be -128, an input may
// not, since it is negated as a signed byte), and vpshufb, which has to pick the four inputs
// anyway, picks them out of the inputs and their negatives: that gives each its weight's sign. One
// selection therefore serves one row, and rows that share a pattern gain nothing here.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/cpu/tile_avx2.h"

namespace twofour {
namespace {

// What fits 16 registers: 10 accumulators, a control, magnitudes, ones, activations.
constexpr int kTokens = 10;

// 8 inputs of a token, none of them -128.
struct Inputs {
  int8_t value[8], negative[8];
};

// What a block of 8 rows takes of 8 inputs: where it finds them, four to a lane, and by what it
// multiplies them.
struct Step {
  __m256i control, magnitude;
};

struct Tile {
  const PackedWeights& w;
  const PackedWeights::Panel& panel;
  const MatmulArgs& args;
  const Step* steps;  // [block][k / 8]
  const Inputs* x;    // [k / 8][tokens]
  int64_t first;      // row of x
};

// [m, k] to tiles of kTokens rows, the last one shorter: [k / 8][token].
void lay_out(const int8_t* x, int64_t m, int64_t k, Inputs* out) {
  for (int64_t first = 0; first < m; first += kTokens) {
    const int64_t tokens = std::min<int64_t>(kTokens, m - first);
    for (int64_t t = 0; t < tokens; ++t) {
      const int8_t* row = x + (first + t) * k;
      for (int64_t s = 0; s < k / 8; ++s) {
        const __m128i value = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + s * 8));
        const __m128i negative = _mm_sub_epi8(_mm_setzero_si128(), value);
        _mm_store_si128(reinterpret_cast<__m128i*>(out + s * tokens + t),
                        _mm_unpacklo_epi64(value, negative));
      }
    }
    out += k / 8 * tokens;
  }
}

// Four 2-bit fields of a byte become positions, the first two among inputs 0 to 3, the others among
// 4 to 7; negatives stand 8 places further.
inline Step expand(const uint8_t* metadata, const int8_t* weights) {
  const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights));
  const __m256i m =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(metadata)));
  const __m256i halves = _mm256_or_si256(m, _mm256_slli_epi32(m, 12));
  const __m256i fields = _mm256_or_si256(halves, _mm256_slli_epi32(halves, 6));
  const __m256i position =
      _mm256_or_si256(_mm256_and_si256(fields, _mm256_set1_epi8(3)), _mm256_set1_epi32(0x04040000));
  const __m256i negative =
      _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_setzero_si256(), w), _mm256_set1_epi8(8));
  return {_mm256_or_si256(position, negative), _mm256_abs_epi8(w)};
}

// Once for all tokens.
void expand_panel(const PackedWeights& w, const PackedWeights::Panel& panel, Step* steps) {
  const uint8_t* metadata = w.metadata.as<uint8_t>() + panel.metadata;
  const int8_t* weights = w.weights.as<int8_t>() + panel.weights;
  const int64_t count = w.k / 8;
  for (int64_t s = 0; s < count; ++s) {
    for (int b = 0; b < panel.blocks; ++b, weights += 4 * kLanes) {
      steps[b * count + s] = expand(metadata, weights);
      if ((b + 1) % panel.shared == 0) metadata += kLanes;
    }
  }
}

// Of intrinsics GCC 12 makes all products first, for which there are no registers.
TWOFOUR_INLINE void multiply_add(__m256i& sum, const Inputs& x, const Step& step, __m256i ones) {
  __m256i product;
  asm("vbroadcasti128 %2, %1\n\t"
      "vpshufb %3, %1, %1\n\t"
      "vpmaddubsw %1, %4, %1\n\t"
      "vpmaddwd %5, %1, %1\n\t"
      "vpaddd %1, %0, %0"
      : "+x"(sum), "=&x"(product)
      : "m"(x), "x"(step.control), "x"(step.magnitude), "x"(ones));
}

// Block `b` of B.
template <int B, int T>
__attribute__((noinline)) void multiply_block(const Tile& tile, int b, float* values) {
  __m256i sum[T];
  for_each_index<T>([&](int t) TWOFOUR_LAMBDA { sum[t] = _mm256_setzero_si256(); });
  const __m256i ones = _mm256_set1_epi16(1);
  const int64_t count = tile.w.k / 8;
  const Step* step = tile.steps + b * count;
  const Inputs* x = tile.x;
  for (const Step* end = step + count; step < end; ++step, x += T) {
    const Step now = *step;
    for_each_index<T>([&](int t) TWOFOUR_LAMBDA { multiply_add(sum[t], x[t], now, ones); });
  }
  dequantize<T>([&](int t) TWOFOUR_LAMBDA { return sum[t]; }, tile.w, tile.panel.rows + b * kLanes,
                tile.args.input_scale, {values + b * kLanes, B * kLanes});
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

void run_panel(const Tile& tile, int64_t tokens) {
  if (tile.panel.blocks == 4) return run_tokens<4>(tile, tokens);
  if (tile.panel.blocks == 2) return run_tokens<2>(tile, tokens);
  run_tokens<1>(tile, tokens);
}

// Of a panel of up to 4 blocks.
size_t steps_bytes(const PackedWeights& w) { return w.k / 8 * 4 * sizeof(Step); }

}  // namespace

size_t spmm24_s8_avx2_scratch(const PackedWeights& w, int64_t m) {
  return steps_bytes(w) + m * (w.k / 8) * sizeof(Inputs);
}

void spmm24_s8_avx2(const PackedWeights& w, const MatmulArgs& args) {
  auto* steps = reinterpret_cast<Step*>(args.scratch);
  auto* x = reinterpret_cast<Inputs*>(args.scratch + steps_bytes(w));
  lay_out(static_cast<const int8_t*>(args.x), args.m, w.k, x);
  for (int64_t p = args.panel_begin; p < args.panel_end; ++p) {
    const auto& panel = w.panels[p];
    expand_panel(w, panel, steps);
    for (int64_t i = 0; i < args.m; i += kTokens) {
      const Tile tile{w, panel, args, steps, x + i * (w.k / 8), i};
      run_panel(tile, std::min<int64_t>(kTokens, args.m - i));
    }
  }
}

}  // namespace twofour
