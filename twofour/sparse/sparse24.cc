#include "twofour/sparse/sparse24.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/sparse/elements.h"

namespace twofour {
namespace {

constexpr int kGroup = 4;
constexpr int kStored = 2;

template <class E>
int count_nonzero(const typename E::Bits* group, int m) {
  int count = 0;
  for (int p = 0; p < m; ++p) count += !E::is_zero(group[p]);
  return count;
}

// Which two of a 2:4 group are stored, as i0 | i1 << 2.
template <class E>
uint8_t stored_positions(const typename E::Bits* group) {
  bool chosen[kGroup] = {};
  int count = 0;
  const auto choose_where = [&](auto condition) {
    for (int p = 0; p < kGroup && count < kStored; ++p) {
      if (!chosen[p] && condition(group[p])) {
        chosen[p] = true;
        ++count;
      }
    }
  };
  choose_where([](auto bits) { return !E::is_zero(bits); });
  if (count < kStored) choose_where([](auto bits) { return bits != 0; });
  if (count < kStored) choose_where([](auto) { return true; });
  int nibble = 0;
  for (int p = 0, slot = 0; p < kGroup; ++p) {
    if (chosen[p]) nibble |= p << (2 * slot++);
  }
  return static_cast<uint8_t>(nibble);
}

template <class E>
void compress_elements(const TensorView& matrix, Sparse24Matrix& out) {
  using Bits = typename E::Bits;
  auto* values = reinterpret_cast<Bits*>(out.values.data());
  auto* metadata = reinterpret_cast<uint8_t*>(out.metadata.data());
  const int64_t bytes = out.metadata.numel();
  for (int64_t i = 0; i < bytes; ++i) {
    uint8_t byte = 0;
    for (int half = 0; half < 2; ++half) {
      const int64_t group_index = 2 * i + half;
      Bits group[kGroup];
      E::load(matrix.data, group_index * kGroup, kGroup, group);
      const uint8_t nibble = stored_positions<E>(group);
      values[group_index * kStored] = group[nibble & 3];
      values[group_index * kStored + 1] = group[nibble >> 2];
      byte |= static_cast<uint8_t>(nibble << (4 * half));
    }
    metadata[i] = byte;
  }
}

template <class E>
void expand_elements(const Sparse24Matrix& matrix, Tensor& out) {
  using Bits = typename E::Bits;
  std::memset(out.data(), 0, out.bytes());
  auto* dense = reinterpret_cast<Bits*>(out.data());
  const auto* values = reinterpret_cast<const Bits*>(matrix.values.data());
  const auto* metadata = reinterpret_cast<const uint8_t*>(matrix.metadata.data());
  const int64_t groups = matrix.metadata.numel() * 2;
  for (int64_t g = 0; g < groups; ++g) {
    const int nibble = metadata[g / 2] >> (g % 2 * 4) & 15;
    const int i0 = nibble & 3, i1 = nibble >> 2;
    if (i0 >= i1) {
      throw Error("expand", fmt::format("metadata of group {} stores positions {} and {}, expected "
                                        "ascending ones",
                                        g, i0, i1));
    }
    dense[g * kGroup + i0] = values[g * kStored];
    dense[g * kGroup + i1] = values[g * kStored + 1];
  }
}

}  // namespace

void check_matrix(std::string_view name, const TensorView& matrix) {
  const Shape& shape = matrix.shape;
  if (shape.rank() != 2 || shape[0] < 0 || shape[1] < 0) {
    throw Error(name, fmt::format("expected a matrix, found shape {}", shape.to_string()));
  }
  const DType type = matrix.dtype;
  if (type != DType::kF32 && type != DType::kF16 && type != DType::kBF16 && type != DType::kI8) {
    throw Error(name, fmt::format("expected F32, F16, BF16 or I8, found {}", dtype_name(type)));
  }
}

std::optional<NmViolation> find_violation(const TensorView& matrix, NmPattern pattern) {
  constexpr std::string_view kWhere = "find_violation";
  constexpr int kMaxGroup = 32;
  const int n = pattern.n, m = pattern.m;  // Clang 14 does not capture structured bindings
  check_matrix(kWhere, matrix);
  if (n < 1 || n > m || m > kMaxGroup) {
    throw Error(kWhere,
                fmt::format("pattern {}:{} is not n:m with 1 <= n <= m <= {}", n, m, kMaxGroup));
  }
  const int64_t cols = matrix.shape[1];
  if (cols % m != 0)
    throw Error(kWhere, fmt::format("{} columns are not divisible by {}", cols, m));
  const int64_t size = matrix.shape.numel();
  return dispatch_elements(matrix.dtype, [&]<class E>(E) -> std::optional<NmViolation> {
    typename E::Bits group[kMaxGroup];
    for (int64_t first = 0; first < size; first += m) {
      E::load(matrix.data, first, m, group);
      const int nonzero = count_nonzero<E>(group, m);
      if (nonzero > n) return NmViolation{first / cols, first % cols, nonzero};
    }
    return std::nullopt;
  });
}

SparsityReport sparsity_report(const TensorView& matrix) {
  check_matrix("sparsity_report", matrix);
  const int64_t size = matrix.shape.numel();
  SparsityReport report;
  if (size == 0) return report;
  const bool whole_groups = matrix.shape[1] % kGroup == 0;
  int64_t zeros = 0, good = 0;
  dispatch_elements(matrix.dtype, [&]<class E>(E) {
    typename E::Bits group[kGroup];
    for (int64_t first = 0; first < size; first += kGroup) {
      const int count = static_cast<int>(std::min<int64_t>(kGroup, size - first));
      E::load(matrix.data, first, count, group);
      const int nonzero = count_nonzero<E>(group, count);
      zeros += count - nonzero;
      good += nonzero <= kStored;
    }
  });
  report.zeros = static_cast<double>(zeros) / static_cast<double>(size);
  if (!whole_groups) return report;
  report.groups_2_4 = static_cast<double>(good * kGroup) / static_cast<double>(size);
  if (good * kGroup != size) return report;
  for (int share = 2; share <= 32 && matrix.shape[0] % share == 0; share *= 2) {
    if (find_row_sets(matrix, share)) report.share_rows = share;
  }
  return report;
}

Sparse24Matrix compress(std::string_view name, const TensorView& matrix) {
  check_matrix(name, matrix);
  const int64_t rows = matrix.shape[0], cols = matrix.shape[1];
  if (cols % 8 != 0) {
    throw Error(name, fmt::format("{} columns are not divisible by 8", cols),
                "Leave this layer dense");
  }
  if (const auto violation = find_violation(matrix)) {
    throw Error(name, fmt::format("not 2:4: the group at [{}, {}] has {} non-zero values",
                                  violation->row, violation->col, violation->nonzero));
  }
  Sparse24Matrix out{rows, cols, Tensor(matrix.dtype, {rows, cols / 2}),
                     Tensor(DType::kU8, {rows, cols / 8})};
  dispatch_elements(matrix.dtype, [&]<class E>(E) { compress_elements<E>(matrix, out); });
  return out;
}

Tensor expand(const Sparse24Matrix& matrix) {
  const auto [rows, cols] = std::pair(matrix.rows, matrix.cols);
  check_matrix("expand", matrix.values);
  if (cols % 8 != 0 || matrix.values.shape() != Shape{rows, cols / 2} ||
      matrix.metadata.shape() != Shape{rows, cols / 8} || matrix.metadata.dtype() != DType::kU8) {
    throw Error("expand",
                fmt::format("values {} and {} metadata {} do not make a [{}, {}] matrix",
                            matrix.values.shape().to_string(), dtype_name(matrix.metadata.dtype()),
                            matrix.metadata.shape().to_string(), rows, cols));
  }
  Tensor out(matrix.values.dtype(), {rows, cols});
  dispatch_elements(out.dtype(), [&]<class E>(E) { expand_elements<E>(matrix, out); });
  return out;
}

}  // namespace twofour
