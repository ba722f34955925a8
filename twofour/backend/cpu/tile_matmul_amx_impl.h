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
  TWOFOUR_INLINE void prepare(int64_t) const {}
};

template <class Type>
size_t dense_amx_scratch(const PackedWeights& w, int64_t m) {
  return activation_bytes<Type>(w, m);
}

template <class Type>
void run_dense_amx(const PackedWeights& w, const MatmulArgs& args) {
  run_amx<Type>(w, args, args.scratch, [&]<int B>(const PackedWeights::Panel& panel) {
    return DenseTiles<B>{w.weights.data() + panel.weights * Type::kElementBytes};
  });
}

}  // namespace
}  // namespace twofour
