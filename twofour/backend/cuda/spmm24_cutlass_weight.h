// 2:4 weights as CUTLASS's main loops read them. Made at load, never stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/spmm24_cutlass.h"
#include "twofour/base/dtype.h"

namespace twofour::cuda {

// values [n, k / 2], row-major. The metadata has a nibble for each group of four along k, i0 | i1
// << 2 with i0 < i1, of which spmm24_cutlass_nibble() gives the places; rows and columns that fill
// it up have that of a group without weights.
struct Spmm24CutlassWeight {
  DType type = DType::kF16;  // kF16, kBF16, kI8
  int64_t n = 0, k = 0;
  std::vector<std::byte> values, metadata;
};

// Rows that the metadata has.
int64_t spmm24_cutlass_rows(CutlassForm form, int64_t n);

// Where the nibble of a row's group stands, counted in nibbles, low ones first. `rows` is
// spmm24_cutlass_rows(). kSm80: reorder_meta() of cutlass/util/host_reorder.h, then
// ColumnMajorInterleaved<2>. kSm90: Sm90GemmSparseConfig::TensorEAtom of CUTLASS 4.2 for blocks of
// 128 along k.
int64_t spmm24_cutlass_nibble(CutlassForm form, DType type, int64_t rows, int64_t row,
                              int64_t group);

// `weight` [n, k], row-major with zeros in place, on the host. Throws Error naming `name` unless
// the type is one of the above, the form takes n and k, and it is 2:4.
Spmm24CutlassWeight pack_spmm24_cutlass(std::string_view name, CutlassForm form, DType type,
                                        int64_t n, int64_t k, const void* weight);

}  // namespace twofour::cuda
