// From a tile of f32 results in packed order to where they belong, by way of the epilogue. For
// files compiled with AVX-512 only: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "twofour/backend/cpu/vector_math.h"
#include "twofour/backend/matmul.h"

namespace twofour {
namespace {

constexpr int kLanes = 16;

// body(0), ..., body(N - 1), each with its index constant: GCC 12 leaves loops of a single round,
// and with them the registers that they index, in memory.
template <int N, class Body>
TWOFOUR_INLINE void for_each_index(Body body) {
  [&]<int... I>(std::integer_sequence<int, I...>) TWOFOUR_LAMBDA { (body(I), ...); }
  (std::make_integer_sequence<int, N>());
}

// From row to row of activations that a kernel has laid out anew, in bytes.
inline int64_t laid_out_stride(int64_t row_bytes) { return (row_bytes + 63) / 64 * 64; }

inline __mmask16 lane_mask(int64_t lanes) {
  return lanes >= kLanes ? 0xffff : lanes <= 0 ? 0 : static_cast<__mmask16>((1u << lanes) - 1);
}

inline void store16(const MatmulArgs& args, int64_t at, __mmask16 mask, const F32x16& x) {
  if (args.y != nullptr) _mm512_mask_storeu_ps(args.y + at, mask, x);
  if (args.epilogue.quantized == nullptr) return;
  const I8x16 q = quantize16(x, args.epilogue.output_scale);
  _mm_mask_storeu_epi8(args.epilogue.quantized + at, mask, reinterpret_cast<const __m128i&>(q));
}

// Output vector `v` of a panel without gaps, its lanes put in order.
template <int B>
inline __m512 in_order(const float* packed, const int32_t* store_map, int v) {
  const __m512i index = _mm512_load_si512(store_map + v * kLanes);
  const __m512 block0 = _mm512_load_ps(packed);
  if constexpr (B == 1) return _mm512_permutexvar_ps(index, block0);
  const __m512 first = _mm512_permutex2var_ps(block0, index, _mm512_load_ps(packed + kLanes));
  if constexpr (B == 2) return first;
  const __m512 second = _mm512_permutex2var_ps(_mm512_load_ps(packed + 2 * kLanes), index,
                                               _mm512_load_ps(packed + 3 * kLanes));
  return _mm512_mask_blend_ps(_mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), first, second);
}

template <int B>
inline void store_scattered(const MatmulArgs& args, int64_t at, const int32_t* rows,
                            const float* packed) {
  alignas(64) int8_t quantized[B * kLanes];
  if (args.epilogue.quantized != nullptr) {
    for (int b = 0; b < B; ++b) {
      const I8x16 q = quantize16(load(packed + b * kLanes), args.epilogue.output_scale);
      std::memcpy(quantized + b * kLanes, &q, sizeof q);
    }
  }
  for (int i = 0; i < B * kLanes; ++i) {
    if (rows[i] < 0) continue;
    if (args.y != nullptr) args.y[at + rows[i]] = packed[i];
    if (args.epilogue.quantized != nullptr) args.epilogue.quantized[at + rows[i]] = quantized[i];
  }
}

// The results of `tokens` rows from `first` on, [token][B][lane] in packed order, by way of the
// epilogue to where they belong.
template <int B>
void finish_tile(const PackedWeights& w, const PackedWeights::Panel& panel, const MatmulArgs& args,
                 int64_t first, int tokens, float* values) {
  if (args.epilogue.activation) activate(*args.epilogue.activation, values, tokens * B * kLanes);
  const int32_t* rows = w.row_map.data() + panel.rows;
  const int32_t* store_map = w.store_map.as<int32_t>() + panel.rows;
  for (int t = 0; t < tokens; ++t, values += B * kLanes) {
    const int64_t at = (first + t) * w.n;
    if (panel.row_count == 0) {
      store_scattered<B>(args, at, rows, values);
      continue;
    }
    for (int v = 0; v < B; ++v) {
      // Dense panels have three blocks, in order.
      const __m512 x =
          B == 3 ? _mm512_load_ps(values + v * kLanes) : in_order<B>(values, store_map, v);
      store16(args, at + panel.first_row + v * kLanes, lane_mask(panel.row_count - v * kLanes), x);
    }
  }
}

}  // namespace
}  // namespace twofour
