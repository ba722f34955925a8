// Tiles of AMX. For files compiled with AVX-512 and AMX only: everything here has internal linkage.
//
// A tile is 16 rows of 64 bytes. One instruction multiplies 16 tokens by 16 output rows over 64
// bytes of inputs: A holds tokens as they lie in memory, B [4 bytes of inputs][output row][4], C
// the sums [token][output row].
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "twofour/backend/cpu/vector16.h"

namespace twofour {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileRowBytes = 64;
constexpr int kTileBytes = kTileRows * kTileRowBytes;

// What a product does with the eight tiles: 2 of tokens by 2 of output rows.
constexpr int kC = 0;  // + 2 * (tile of tokens) + (tile of output rows)
constexpr int kA = 4, kB = 6;

// While it lives, tiles of A and C have `tokens` rows (1 to 16), those of B 16. Gives the tiles
// back, since their 8 KB would be saved at every switch of threads.
class TilesInUse {
 public:
  explicit TilesInUse(int tokens) {
    Config config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = kTileRowBytes;
      config.rows[tile] = static_cast<uint8_t>(tile < kB ? tokens : kTileRows);
    }
    // The intrinsic of GCC 12 names only the first 8 bytes as what it reads.
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TilesInUse() { _tile_release(); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;

 private:
  struct alignas(64) Config {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
};

// The intrinsics want literals, which a template's parameter is not without optimization.
template <int Tile>
TWOFOUR_INLINE void load_tile(const std::byte* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
TWOFOUR_INLINE void store_tile(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
TWOFOUR_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
template <int C, int A, int B>
TWOFOUR_INLINE void dot_tiles_s8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
template <int C, int A, int B>
TWOFOUR_INLINE void dot_tiles_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

}  // namespace
}  // namespace twofour
