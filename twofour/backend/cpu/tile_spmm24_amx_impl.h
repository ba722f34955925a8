// Included once by each file that compiles it for an instruction set, behind the header of a type
// and tile_amx_impl.h: 2:4 weights, which become tiles of B as the first tokens meet them, some
// steps ahead of the product; a tile's worth of expanding and one of multiplying go on at once.
// What is saved is memory: 0.63 of the bytes (bf16: 0.56) come from far caches.
#pragma once

#include "twofour/backend/cpu/panels.h"

namespace twofour {
namespace {

// From the form of pack_sparse24_tiles.
template <class Type>
TWOFOUR_INLINE void expand_tile(const std::byte* packed, std::byte* tile) {
  static_assert(kTileValueBytes + Type::kMaskVectors * kTileRowBytes ==
                kPackedTileBytes<Type::kElementBytes>);
  const std::byte* masks = packed + kTileValueBytes;
#pragma GCC unroll 2
  for (int v = 0; v < Type::kMaskVectors; ++v) {
    __m512i bits = _mm512_load_si512(masks + v * kTileRowBytes);
#pragma GCC unroll 16
    for (int row = 0; row < kTileRows / Type::kMaskVectors; ++row) {
      const auto mask = Type::next_mask(bits);
      _mm512_store_si512(tile, Type::expand(mask, packed));
      packed += Type::value_bytes(mask);
      tile += kTileRowBytes;
    }
  }
}

template <class Type, int B>
class SparseTiles {
 public:
  // `once`: all tokens fit a pass. Then tiles need not be kept, and stay in the first-level cache.
  SparseTiles(const std::byte* packed, std::byte* tiles, int64_t steps, bool once)
      : packed_(packed), tiles_(tiles), steps_(steps), mask_(once ? kKeptSteps - 1 : -1) {}

  Operand ready() const { return {tiles_, kTileRowBytes, kTileBytes, B * kTileBytes, mask_}; }
  Operand begin() const {
    for (int64_t step = 0; step < std::min(kStepsAhead, steps_); ++step) {
      for (int b = 0; b < B; ++b) expand(step, b);
    }
    return ready();
  }
  // Half a step at a time.
  TWOFOUR_INLINE void prepare(int64_t part) const {
    const int64_t step = part / 2 + kStepsAhead;
    if (step >= steps_) return;
    if constexpr (B == 2) {
      expand(step, part % 2);
    } else if (part % 2 == 0) {
      expand(step, 0);
    }
  }

 private:
  static constexpr int64_t kStepsAhead = 2, kKeptSteps = 4;

  TWOFOUR_INLINE void expand(int64_t step, int64_t b) const {
    expand_tile<Type>(packed_ + (step * B + b) * kPackedTileBytes<Type::kElementBytes>,
                      tiles_ + ((step & mask_) * B + b) * kTileBytes);
  }

  const std::byte* packed_;
  std::byte* tiles_;
  int64_t steps_, mask_;
};

template <class Type>
size_t expanded_bytes(const PackedWeights& w) {
  return amx_steps<Type>(w) * kPanelBlocks * kTileBytes;
}

template <class Type>
size_t sparse_amx_scratch(const PackedWeights& w, int64_t m) {
  return expanded_bytes<Type>(w) + activation_bytes<Type>(w, m);
}

template <class Type>
void run_sparse_amx(const PackedWeights& w, const MatmulArgs& args) {
  run_amx<Type>(w, args, args.scratch + expanded_bytes<Type>(w),
                [&]<int B>(const PackedWeights::Panel& panel) {
                  return SparseTiles<Type, B>(w.weights.data() + panel.weights, args.scratch,
                                              amx_steps<Type>(w), args.m <= kTokens);
                });
}

}  // namespace
}  // namespace twofour
