#include "twofour/backend/cuda/spmm24_cutlass_weight.h"

#include <cstring>

#include "twofour/base/error.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::cuda {
namespace {

constexpr int64_t kAtomRows = 64, kAtomK = 128;  // of kSm90
constexpr auto kZeroByte = std::byte{0x44};      // two groups without weights: 0 | 1 << 2 each

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Elements of the metadata are 16 bits for types of 16 bits, 32 bits for those of 8.
int64_t nibble_sm80(int64_t bytes, int64_t rows, int64_t row, int64_t group) {
  const int64_t groups = bytes == 2 ? 4 : 8;  // of an element
  const int64_t tiles = bytes == 2 ? 4 : 2;   // of 8 rows, woven into one another
  int64_t woven = row / (8 * tiles) * (8 * tiles) + row % 8 * tiles + row % (8 * tiles) / 8;
  int64_t column = group / groups;
  if (woven % 2 != column % 2) {  // blocks of 2 x 2 are transposed
    const int64_t turned = woven / 2 * 2 + column % 2;
    column = column / 2 * 2 + woven % 2;
    woven = turned;
  }
  const int64_t element = column / 2 * (rows * 2) + woven * 2 + column % 2;
  return element * groups + group % groups;
}

// Atoms of 64 rows by 128 along k, first along the rows.
int64_t nibble_sm90(int64_t bytes, int64_t rows, int64_t row, int64_t group) {
  const int64_t r = row % kAtomRows, k = group * 4 % kAtomK;
  const int64_t atom = group * 4 / kAtomK * rows * kAtomK + row / kAtomRows * kAtomRows * kAtomK;
  const int64_t within = bytes == 1 ? r * kAtomK + k
                                    : r % 8 * 128 + r / 8 % 2 * 16 + r / 16 * 2048 + k % 16 +
                                          k / 16 % 2 * 1024 + k / 32 * 32;
  return (atom + within) / 4;
}

}  // namespace

int64_t spmm24_cutlass_rows(CutlassForm form, int64_t n) {
  return round_up(n, form == CutlassForm::kSm80 ? 32 : kAtomRows);
}

int64_t spmm24_cutlass_nibble(CutlassForm form, DType type, int64_t rows, int64_t row,
                              int64_t group) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(type));
  return form == CutlassForm::kSm80 ? nibble_sm80(bytes, rows, row, group)
                                    : nibble_sm90(bytes, rows, row, group);
}

Spmm24CutlassWeight pack_spmm24_cutlass(std::string_view name, CutlassForm form, DType type,
                                        int64_t n, int64_t k, const void* weight) {
  const DeviceProperties able{"", form == CutlassForm::kSm80 ? 8 : 9, 0, 0, 0,
                              0};  // what remains is of the layer
  if (const auto reason = spmm24_cutlass_rejects(form, able, type, type, n, k))
    throw Error(name, *reason);
  const TensorView view{type, {n, k}, static_cast<const std::byte*>(weight)};
  const Sparse24Matrix matrix = compress(name, view);
  Spmm24CutlassWeight out{type, n, k, {}, {}};
  const auto* values = matrix.values.data();
  out.values.assign(values, values + n * k / 2 * static_cast<int64_t>(dtype_bytes(type)));
  const int64_t rows = spmm24_cutlass_rows(form, n), groups = k / 4;
  const int64_t columns = form == CutlassForm::kSm80 ? k : round_up(k, kAtomK);
  out.metadata.assign(rows * columns / 8, kZeroByte);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t from = row * groups + group;
      const int64_t to = spmm24_cutlass_nibble(form, type, rows, row, group);
      const std::byte nibble = matrix.metadata.data()[from / 2] >> (from % 2 * 4) & std::byte{15};
      const auto shift = static_cast<int>(to % 2 * 4);
      std::byte& byte = out.metadata[to / 2];
      byte = (byte & ~(std::byte{15} << shift)) | nibble << shift;
    }
  }
  return out;
}

}  // namespace twofour::cuda
