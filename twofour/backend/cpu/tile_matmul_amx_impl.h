// Included once by each file that compiles it for an instruction set, behind the header of a type
// and tile_amx_impl.h: dense weights, which are tiles of B as they are packed.
#pragma once

namespace twofour {
namespace {

template <int B>
struct DenseTiles {
  const std::byte* packed;

  Operand ready() const { return {packed, B * kTileRowBytes, kTileRowBytes, B * kTileBytes}; }
  Operand begin() const { return ready(); }
  TWOFOUR_INLINE void prepare(int64_t /*part*/) const {}
};

// As many tokens as stay in the first-level cache beside a panel while all weights pass by; all of
// them where not even two passes would.
template <class Type>
int64_t tokens_at_once(const PackedWeights& w, int64_t m) {
  constexpr int64_t kCacheBytes = 32 << 10, kAtOnce = 2 * kTokens;
  return kAtOnce * amx_stride<Type>(w) <= kCacheBytes ? std::min(kAtOnce, m) : m;
}

template <class Type>
size_t dense_amx_scratch(const PackedWeights& w, int64_t m) {
  return activation_bytes<Type>(w, tokens_at_once<Type>(w, m));
}

template <class Type>
void run_dense_amx(const PackedWeights& w, const MatmulArgs& args) {
  const int64_t step = tokens_at_once<Type>(w, args.m);
  for (int64_t first = 0; first < args.m; first += step) {
    run_amx<Type>(w, some_rows<Type>(w, args, first, std::min(step, args.m - first)), args.scratch,
                  [&]<int B>(const PackedWeights::Panel& panel) {
                    return DenseTiles<B>{w.weights.data() + panel.weights * Type::kElementBytes};
                  });
  }
}

}  // namespace
}  // namespace twofour
