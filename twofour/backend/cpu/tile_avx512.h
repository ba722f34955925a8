// Tiles of AVX-512 kernels. For files compiled with AVX-512 only: everything here has internal
// linkage.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "twofour/backend/cpu/vector16.h"

namespace twofour {
namespace {

constexpr int kLanes = 16;

// Registers of the kernels in tile_matmul_impl.h and tile_spmm24_impl.h.
struct Avx512 {
  using Vector = __m512i;

  // What fits 32 registers: 3 blocks x 8 tokens are 24 accumulators, 3 weights and 1 activation.
  static constexpr int kDenseBlocks = 3, kDenseTokens = 8;
  static constexpr int kSparseTokens = 8;  // 2 blocks
  static constexpr int kQuadTokens = 6;    // 4 blocks

  static Vector load(const std::byte* p) { return _mm512_load_si512(p); }
  static Vector broadcast4(const std::byte* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
  }
  static Vector broadcast8(const std::byte* p) {
    int64_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm512_set1_epi64(word);
  }
  static Vector select(Vector x, Vector control) { return _mm512_shuffle_epi8(x, control); }
  static void store(float* p, __m512 x) { _mm512_store_ps(p, x); }
};

inline __mmask16 lane_mask(int64_t lanes) { return static_cast<__mmask16>((1u << lanes) - 1); }
inline void store_lanes16(float* p, int64_t lanes, const F32x16& x) {
  _mm512_mask_storeu_ps(p, lane_mask(lanes), x);
}
inline void store_lanes16(int8_t* p, int64_t lanes, const I8x16& x) {
  _mm_mask_storeu_epi8(p, lane_mask(lanes), reinterpret_cast<const __m128i&>(x));
}

// Output rows [i, i + 16) of a panel without gaps.
template <int B>
inline F32x16 in_order(const float* packed, const int32_t* store_map, int i) {
  if constexpr (B == 3) return _mm512_load_ps(packed + i);  // dense
  const __m512i index = _mm512_load_si512(store_map + i);
  const __m512 block0 = _mm512_load_ps(packed);
  if constexpr (B == 1) return _mm512_permutexvar_ps(index, block0);
  const __m512 first = _mm512_permutex2var_ps(block0, index, _mm512_load_ps(packed + kLanes));
  if constexpr (B == 2) return first;
  const __m512 second = _mm512_permutex2var_ps(_mm512_load_ps(packed + 2 * kLanes), index,
                                               _mm512_load_ps(packed + 3 * kLanes));
  return _mm512_mask_blend_ps(_mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), first, second);
}

}  // namespace
}  // namespace twofour

#include "twofour/backend/cpu/tile.h"
