// 2:4 matrices: check, compress to values + 2-bit metadata, expand.
//
// Matrices are [rows, cols] of F32, F16, BF16 or I8, at any alignment. -0.0 counts as zero, NaN
// does not.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "twofour/base/tensor.h"
#include "twofour/sparse/mask.h"

namespace twofour {

// First group of `m` with more than `n` non-zero values, as [row, col of the group]; nothing if the
// matrix is n:m. Throws Error if cols % m != 0.
struct NmViolation {
  int64_t row, col;
  int nonzero;
};
std::optional<NmViolation> find_violation(const TensorView& matrix, NmPattern pattern = {});

// Share of zeros, and of groups of 4 that are 2:4 (0 if cols % 4 != 0).
struct SparsityReport {
  double zeros = 0;
  double groups_2_4 = 0;
  int share_rows = 1;  // largest r in {1, 2, 4, 8, 16, 32} for which find_row_sets finds sets; 1
                       // unless all is 2:4
};
SparsityReport sparsity_report(const TensorView& matrix);

// Sets of `share_rows` rows whose non-zero values fit one common 2:4 pattern; nothing if none are
// found. Rows with equal masks are put together first. The rest (a kept weight may be zero by
// chance, above all in int8) joins, in order, the first set that it fits, so a partition that only
// a cleverer search finds is missed; what is returned always holds.
std::optional<RowSets> find_row_sets(const TensorView& matrix, int share_rows);

// values [rows, cols / 2] of the matrix's type; metadata [rows, cols / 8] bytes, two groups a byte,
// low nibble first, each i0 | i1 << 2 with i0 < i1. Groups with fewer than two non-zeros are filled
// with explicit zeros, negative ones first, then the lower index first.
struct Sparse24Matrix {
  int64_t rows = 0, cols = 0;
  Tensor values;
  Tensor metadata;  // U8
};

// Throws Error naming the position of the first group that is not 2:4, or cols % 8 != 0.
Sparse24Matrix compress(std::string_view name, const TensorView& matrix);

// The inverse of compress, bit for bit, save that a -0.0 which found no room among a group's two
// values is +0.0. Throws Error if shapes or metadata contradict each other.
Tensor expand(const Sparse24Matrix& matrix);

}  // namespace twofour
