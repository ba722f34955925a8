// 2:4 weights in the order in which the kernel of spmm24_mma.h reads them. Made at load, never
// stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "twofour/base/dtype.h"

namespace twofour::cuda {

// Tiles of 16 rows by blocks of 64 along k; the last block is filled with zeros. For each tile,
// block and chunk of 64 bytes along k, 16 bytes for each lane: operand A of mma_sp.h. For each tile
// and block a register of metadata for each lane, which serves both chunks of 16-bit elements.
//
// Groups of four along k stand in another order within a chunk than in the weight, so that a lane
// finds its part of x in 16 neighbouring bytes: spmm24_mma_group().
struct Spmm24MmaWeight {
  DType type = DType::kF16;  // kF16, kBF16, kI8
  int64_t n = 0, k = 0;
  int64_t blocks = 0;  // along k
  std::vector<std::byte> values;
  std::vector<uint32_t> metadata;
};

// Which group of a chunk of x and of the weight is operand group `group`.
constexpr int spmm24_mma_group(int element_bytes, int group) {
  return element_bytes == 1 ? group % 4 * 4 + group / 4 : group % 2 * 4 + group / 2;
}

// `weight` [n, k], row-major with zeros in place, on the host. Throws Error naming `name` unless
// the type is one of the above, n is a multiple of 16, k of 16 (16 bits) or 32 (8 bits), and it is
// 2:4.
Spmm24MmaWeight pack_spmm24_mma(std::string_view name, DType type, int64_t n, int64_t k,
                                const void* weight);

}  // namespace twofour::cuda
