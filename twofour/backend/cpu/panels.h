// Packing into panels of vectors: lanes are output rows. Shared by the instruction sets, which
// differ in lanes.
#pragma once

#include <cstdint>

#include "twofour/backend/matmul.h"

namespace twofour {

// Dense: panels of `blocks` vectors of `lanes` rows. k is cut into steps of `step` elements (zero
// padded):
//   weights [k / step][block][lane][step]
// row_sums holds the sums of s8 rows.
PackedWeights pack_dense(const MatmulDesc& desc, const WeightSource& source, int lanes, int blocks,
                         int step);

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

}  // namespace twofour
