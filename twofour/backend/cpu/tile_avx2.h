// Tiles of AVX2 kernels. For files compiled with AVX2 only: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "twofour/backend/cpu/vector16.h"

namespace twofour {
namespace {

constexpr int kLanes = 8;

// Registers of the kernels in tile_matmul_impl.h and tile_spmm24_impl.h.
struct Avx2 {
  using Vector = __m256i;

  // What fits 16 registers: 2 blocks x 5 tokens are 10 accumulators, 2 weights and 1 activation.
  static constexpr int kDenseBlocks = 2, kDenseTokens = 5;
  static constexpr int kSparseTokens = 4;  // 2 blocks
  static constexpr int kQuadTokens = 2;    // 4 blocks

  static Vector load(const std::byte* p) {
    return _mm256_load_si256(reinterpret_cast<const Vector*>(p));
  }
  static Vector broadcast4(const std::byte* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
  }
  static Vector broadcast8(const std::byte* p) {
    int64_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm256_set1_epi64x(word);
  }
  static Vector select(Vector x, Vector control) { return _mm256_shuffle_epi8(x, control); }
  static void store(float* p, __m256 x) { _mm256_store_ps(p, x); }
};

template <class T, class Vector>
inline void store_lanes16(T* p, int64_t lanes, const Vector& x) {
  store_lanes(p, lanes, x);
}

// 8 values of a panel by their positions in it.
template <int B>
inline __m256 select8(const float* packed, __m256i index) {
  const auto block = [&](int b) TWOFOUR_LAMBDA {
    return _mm256_permutevar8x32_ps(_mm256_load_ps(packed + b * kLanes), index);
  };
  // vblendvps looks at the sign: bit `b` of the position moves there.
  const auto bit = [&](int b) TWOFOUR_LAMBDA {
    return _mm256_castsi256_ps(_mm256_slli_epi32(index, 31 - b));
  };
  if constexpr (B == 1) return block(0);
  const __m256 first = _mm256_blendv_ps(block(0), block(1), bit(3));
  if constexpr (B == 2) return first;
  const __m256 second = _mm256_blendv_ps(block(2), block(3), bit(3));
  return _mm256_blendv_ps(first, second, bit(4));
}

// Output rows [i, i + 16) of a panel without gaps; those past its end are of no meaning.
template <int B>
inline F32x16 in_order(const float* packed, const int32_t* store_map, int i) {
  const auto* index = reinterpret_cast<const __m256i*>(store_map + i);
  const __m256 low = select8<B>(packed, _mm256_load_si256(index));
  return {{low, B == 1 ? low : select8<B>(packed, _mm256_load_si256(index + 1))}};
}

}  // namespace
}  // namespace twofour

#include "twofour/backend/cpu/tile.h"

namespace twofour {
namespace {

// [token][8 lanes], tokens `stride` apart.
struct TileColumn {
  float* values;
  int stride;
};

// dequantize_sum of a block's sums, sum(t) for each of T tokens; `position`: of its first row.
template <int T, class Sum>
TWOFOUR_INLINE void dequantize(Sum sum, const PackedWeights& w, int64_t position, float input_scale,
                               const TileColumn& out) {
  const __m256 scale =
      _mm256_mul_ps(_mm256_set1_ps(input_scale), _mm256_load_ps(w.scales.as<float>() + position));
  const __m256 bias = _mm256_load_ps(w.bias.as<float>() + position);
  for_each_index<T>([&](int t) TWOFOUR_LAMBDA {
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum(t)), scale);
    _mm256_store_ps(out.values + t * out.stride, _mm256_add_ps(scaled, bias));
  });
}

}  // namespace
}  // namespace twofour
