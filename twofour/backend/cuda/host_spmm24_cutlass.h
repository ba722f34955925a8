// spmm24_cutlass.h's product on the host, for tests: the weight is read from where the packer has
// put it, and the sums go the way of a block's lanes through spmm24_cutlass_tile.h.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/host_mma_sp.h"
#include "twofour/backend/cuda/spmm24_cutlass_tile.h"
#include "twofour/backend/cuda/spmm24_cutlass_weight.h"
#include "twofour/backend/cuda/spmm24_mma_launch.h"

namespace twofour::cuda {

// [n, k], dense, as numbers.
template <class Type>
std::vector<float> host_spmm24_cutlass_weight(CutlassForm form, DType type,
                                              const Spmm24CutlassArgs& args) {
  const int64_t rows = spmm24_cutlass_rows(form, args.n);
  const auto* metadata = static_cast<const uint8_t*>(args.metadata);
  std::vector<float> dense(args.n * args.k);
  for (int64_t row = 0; row < args.n; ++row) {
    for (int64_t group = 0; group < args.k / 4; ++group) {
      const int64_t at = spmm24_cutlass_nibble(form, type, rows, row, group);
      const int nibble = metadata[at / 2] >> (at % 2 * 4) & 15;
      for (int i = 0; i < 2; ++i) {
        const int64_t value = row * args.k / 2 + group * 2 + i;
        uint32_t bits = 0;
        std::memcpy(&bits, static_cast<const std::byte*>(args.values) + value * Type::kBytes,
                    Type::kBytes);
        dense[row * args.k + group * 4 + (nibble >> (2 * i) & 3)] += host_element<Type>(bits, 0);
      }
    }
  }
  return dense;
}

// One block of `Tile` at `row` of W and `token`; sums behind n and m are noise.
template <class Type, class Tile>
void host_spmm24_cutlass_block(const std::vector<float>& weight, const Spmm24CutlassArgs& args,
                               EpilogueActivation activation, Spmm24CutlassOutput output,
                               int64_t row, int64_t token) {
  std::vector<typename Tile::Sum> sums(Tile::kSharedBytes / sizeof(typename Tile::Sum), 12345);
  for (int at = 0; at < static_cast<int>(sums.size()); ++at) {
    const int64_t r = row + at % Tile::kStride, t = token + at / Tile::kStride;
    if (at % Tile::kStride >= Tile::kStride - 4 || r >= args.n || t >= args.m) continue;
    typename Tile::Sum sum = 0;
    const auto* x = static_cast<const std::byte*>(args.x) + t * args.x_stride * Type::kBytes;
    for (int64_t k = 0; k < args.k; ++k) {
      const float w = weight[r * args.k + k];
      if (w == 0) continue;
      uint32_t bits = 0;
      std::memcpy(&bits, x + k * Type::kBytes, Type::kBytes);
      sum += static_cast<typename Tile::Sum>(w * host_element<Type>(bits, 0));
    }
    sums[at] = sum;
  }
  for (int thread = 0; thread < Tile::kThreads; ++thread)
    Tile::finish(args, activation, output, row, token, thread, sums.data());
}

template <class Type, class Tile>
void host_spmm24_cutlass_blocks(const Spmm24CutlassVariant& variant, DType type, DType output,
                                EpilogueActivation activation, const Spmm24CutlassArgs& args) {
  const auto weight = host_spmm24_cutlass_weight<Type>(variant.form, type, args);
  const auto stored = output == DType::kI8    ? Spmm24CutlassOutput::kS8
                      : output == DType::kF16 ? Spmm24CutlassOutput::kF16
                                              : Spmm24CutlassOutput::kBf16;
  for (int64_t token = 0; token < args.m; token += variant.tokens) {
    for (int64_t row = 0; row < args.n; row += variant.rows)
      host_spmm24_cutlass_block<Type, Tile>(weight, args, activation, stored, row, token);
  }
}

inline void host_spmm24_cutlass(int variant, DType type, DType output,
                                std::optional<ActivationKind> kind, const Spmm24CutlassArgs& args) {
  const Spmm24CutlassVariant& v = kSpmm24CutlassVariants[variant];
  const EpilogueActivation activation = epilogue_activation(kind);
  const auto with_type = [&]<class Type>() {
    using Sum = typename Type::Sum;
    const auto with_tile = [&]<class Tile>() {
      host_spmm24_cutlass_blocks<Type, Tile>(v, type, output, activation, args);
    };
    if (v.rows == 64)
      return with_tile.template operator()<Spmm24CutlassTile<Sum, 64, 64, 32, 32>>();
    if (v.tokens == 64)
      return with_tile.template operator()<Spmm24CutlassTile<Sum, 128, 64, 64, 32>>();
    with_tile.template operator()<Spmm24CutlassTile<Sum, 128, 128, 64, 64>>();
  };
  if (type == DType::kI8) return with_type.template operator()<SparseS8>();
  if (type == DType::kF16) return with_type.template operator()<SparseF16>();
  with_type.template operator()<SparseBf16>();
}

}  // namespace twofour::cuda
