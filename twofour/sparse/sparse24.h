// 2:4 matrices: check, compress to values + 2-bit metadata, expand.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "twofour/base/tensor.h"
#include "twofour/sparse/mask.h"

namespace twofour {

// First group of `m` with more than `n` non-zero values, as [row, col of the group]; nothing if the matrix is n:m.
struct NmViolation {
  int64_t row, col;
  int nonzero;
};
std::optional<NmViolation> find_violation(const TensorView& matrix, NmPattern pattern = {});

// Share of zeros, and of groups of 4 that are 2:4.
struct SparsityReport {
  double zeros = 0;
  double groups_2_4 = 0;
  int share_rows = 1;  // largest r in {1, 2, 4, 8, 16, 32} such that the rows fall into sets of r with equal masks
};
SparsityReport sparsity_report(const TensorView& matrix);

// values [rows, cols / 2] of the matrix's type; metadata [rows, cols / 8] bytes, two groups a byte, low nibble first,
// each i0 | i1 << 2 with i0 < i1. Groups with fewer than two non-zeros are filled with explicit zeros, lower index first.
struct Sparse24Matrix {
  int64_t rows = 0, cols = 0;
  Tensor values;
  Tensor metadata;  // U8
};

// Throws Error naming the position of the first group that is not 2:4, or cols % 8 != 0. F32, F16, BF16 and I8.
Sparse24Matrix compress(std::string_view name, const TensorView& matrix);
Tensor expand(const Sparse24Matrix& matrix);  // exact inverse

}  // namespace twofour
