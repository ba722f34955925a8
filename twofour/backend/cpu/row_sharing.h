// Finds output rows that can share one 2:4 pattern, whoever pruned the matrix.
#pragma once

#include <cstdint>
#include <vector>

#include "twofour/base/tensor.h"

namespace twofour {

// Disjoint sets of rows; the rows of a set have non-zeros in at most 2 places of every group of 4,
// taken together.
struct SharingPlan {
  std::vector<std::vector<int32_t>> quads, pairs, singles;  // ascending by their first row
};

// `w` [n, k], s8 or f32, is 2:4, k % 8 == 0. Neighbours are matched first.
SharingPlan plan_sharing(const TensorView& w);

}  // namespace twofour
