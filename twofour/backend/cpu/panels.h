// Packing into panels of vectors: lanes are output rows. Shared by the instruction sets, which
// differ in lanes.
#pragma once

#include <cstdint>

#include "twofour/backend/matmul.h"

namespace twofour {

// Dense: panels of `blocks` vectors of `lanes` rows. k is cut into steps of `step` elements (zero
// padded to a multiple of `k_multiple`, which is one of `step`):
//   weights [k / step][block][lane][step]
// row_sums holds the sums of s8 rows.
PackedWeights pack_dense(const MatmulDesc& desc, const WeightSource& source, int lanes, int blocks,
                         int step, int k_multiple);

// 2:4. A panel of shared = r has r blocks and one pattern for each lane; one of shared = 1 has up
// to 2 blocks, each with its own pattern. s8, steps of 8 inputs:
//   weights   [k / 8][block][lane][4]
//   metadata  [k / 8][pattern][lane]      two groups a byte, low nibble first, each i0 | i1 << 2
// bf16, steps of 4 inputs:
//   weights   [k / 4][block][lane][2]
//   metadata  [k / 4][pattern][lane]      a byte each, i0 | i1 << 2
// f32, steps of 4 inputs:
//   weights   [k / 4][block][2][lane]
//   metadata  [k / 4][pattern][lane]      a byte each, i0 | i1 << 2
PackedWeights pack_sparse24(const MatmulDesc& desc, const WeightSource& source, int lanes);

// 2:4 for AMX, s8 or bf16: panels of up to 2 blocks of 16 rows; k is zero padded to whole steps of
// 64 bytes. A tile is [64 bytes / 4][16 rows][4 bytes] of one step of one block:
//   weights   [step][block] tiles: 512 bytes of values in that order, then masks
//   masks     s8 [2][64] bytes of 8 rows, bf16 [32] words of 16 rows: one for each element of a row
//             of the tile, a bit for each row, the first row's on top
// `Panel::weights` counts bytes.
PackedWeights pack_sparse24_tiles(const MatmulDesc& desc, const WeightSource& source);

// Bytes of such a tile: the values, and all of it. A mask has a bit for each of 16 x 64 bytes of
// elements.
constexpr int64_t kTileValueBytes = 512;
template <int ElementBytes>
constexpr int64_t kPackedTileBytes = kTileValueBytes + 16 * 64 / ElementBytes / 8;

}  // namespace twofour
