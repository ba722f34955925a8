#include "twofour/sparse/mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/sparse/row_pairing.h"

namespace twofour {
namespace {

constexpr int kMaxGroup = 32;

// In a matrix of saliency summed over row sets: all rows of the set were pruned here before. It
// goes first, for nothing.
constexpr double kClosed = -1;

void check_pattern(std::string_view name, const NmPattern& pattern, double sparsity) {
  const auto [n, m] = pattern;
  if (n < 1 || n > m || m > kMaxGroup) {
    throw Error(name,
                fmt::format("pattern {}:{} is not n:m with 1 <= n <= m <= {}", n, m, kMaxGroup));
  }
  const double limit = 1.0 - static_cast<double>(n) / m;
  // The slack admits a share like 2.0 / 3 that rounding put above the limit.
  if (!(sparsity >= 0 && sparsity <= limit + 1e-9)) {
    throw Error(name, fmt::format("sparsity {} is outside [0, {}], the range of {}:{}", sparsity,
                                  limit, n, m));
  }
}

void check_shape(std::string_view name, size_t values, int64_t rows, int64_t cols,
                 const MaskOptions& options) {
  if (rows < 1 || cols < 1 || values / static_cast<size_t>(cols) != static_cast<size_t>(rows) ||
      values % static_cast<size_t>(cols) != 0) {
    throw Error(name, fmt::format("{} saliency values for a [{}, {}] matrix", values, rows, cols));
  }
  if (cols % options.pattern.m != 0) {
    throw Error(name, fmt::format("{} columns are not divisible by {}", cols, options.pattern.m),
                "Leave this layer dense");
  }
  const int share = options.share_rows;
  if (share < 1 || share > 32 || (share & (share - 1)) != 0) {
    throw Error(name, fmt::format("share_rows is {}, expected 1, 2, 4, 8, 16 or 32", share));
  }
  if (rows % share != 0) {
    throw Error(name, fmt::format("{} rows are not divisible by share_rows {}", rows, share));
  }
  const Mask* within = options.within;
  if (within && (within->rows != rows || within->cols != cols || within->keep.size() != values)) {
    throw Error(name, fmt::format("the matrix is [{}, {}] but the mask to nest in is [{}, {}] with "
                                  "{} values",
                                  rows, cols, within->rows, within->cols, within->keep.size()));
  }
}

void check_saliency(std::string_view name, std::span<const float> saliency, int64_t cols) {
  const auto bad = std::find_if(saliency.begin(), saliency.end(), [](float value) {
    return !(value >= 0 && value <= std::numeric_limits<float>::max());
  });
  if (bad == saliency.end()) return;
  const int64_t index = bad - saliency.begin();
  throw Error(name, fmt::format("saliency at [{}, {}] is {}, expected a finite value >= 0",
                                index / cols, index % cols, *bad));
}

void check_sets(std::string_view name, const RowSets& sets, int64_t rows, int share_rows) {
  std::vector<uint8_t> seen(rows, 0);
  for (size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].size() != static_cast<size_t>(share_rows)) {
      throw Error(
          name, fmt::format("row set {} has {} rows, expected {}", i, sets[i].size(), share_rows));
    }
    for (const int32_t row : sets[i]) {
      if (row < 0 || row >= rows || seen[row]++ != 0) {
        throw Error(name,
                    fmt::format("row {} of row set {} is out of range or in two sets", row, i));
      }
    }
  }
  if (static_cast<int64_t>(sets.size()) * share_rows != rows) {
    throw Error(name, fmt::format("row sets hold {} rows of {}", sets.size() * share_rows, rows));
  }
}

RowSets adjacent_sets(int64_t rows, int share_rows) {
  RowSets sets(rows / share_rows);
  for (int64_t row = 0; row < rows; ++row) {
    sets[row / share_rows].push_back(static_cast<int32_t>(row));
  }
  return sets;
}

// What is still to lose: pruned weights have no saliency.
std::vector<double> remaining_saliency(std::span<const float> saliency, const Mask* within) {
  std::vector<double> remaining(saliency.begin(), saliency.end());
  if (!within) return remaining;
  for (size_t i = 0; i < remaining.size(); ++i) {
    if (within->keep[i] == 0) remaining[i] = 0;
  }
  return remaining;
}

RowSets choose_sets(std::string_view name, std::span<const double> saliency, int64_t rows,
                    int64_t cols, const MaskOptions& options) {
  if (options.row_sets) {
    check_sets(name, *options.row_sets, rows, options.share_rows);
    return *options.row_sets;
  }
  RowSets adjacent = adjacent_sets(rows, options.share_rows);
  if (options.share_rows == 1 || options.pairing == RowPairing::kAdjacent) return adjacent;
  const int64_t window =
      options.pairing == RowPairing::kNearby ? nearby_window(options.share_rows) : rows;
  RowSets paired =
      least_energy_sets(saliency, rows, cols, options.pattern, options.share_rows, window);
  const bool better = lost_saliency(saliency, cols, options.pattern, paired) <
                      lost_saliency(saliency, cols, options.pattern, adjacent);
  return better ? paired : adjacent;
}

// One row for each set.
std::vector<double> sum_sets(std::span<const double> saliency, int64_t cols, const RowSets& sets,
                             const Mask* within) {
  std::vector<double> sums(sets.size() * static_cast<size_t>(cols), 0.0);
  std::vector<uint8_t> open(cols);
  for (size_t i = 0; i < sets.size(); ++i) {
    double* sum = sums.data() + i * cols;
    std::fill(open.begin(), open.end(), 0);
    for (const int64_t row : sets[i]) {
      const double* values = saliency.data() + row * cols;
      for (int64_t c = 0; c < cols; ++c) sum[c] += values[c];
      if (!within) continue;
      const uint8_t* keep = within->keep.data() + row * cols;
      for (int64_t c = 0; c < cols; ++c) open[c] |= keep[c];
    }
    if (!within) continue;
    for (int64_t c = 0; c < cols; ++c) {
      if (open[c] == 0) sum[c] = kClosed;
    }
  }
  return sums;
}

// rank[p]: how many positions of the group go before p; of equal ones the higher index goes first.
void drop_ranks(const double* saliency, int m, std::array<int, kMaxGroup>& rank) {
  std::fill_n(rank.begin(), m, 0);
  for (int p = 0; p < m; ++p) {
    for (int q = p + 1; q < m; ++q) {
      const bool q_first = saliency[q] <= saliency[p];
      rank[p] += q_first;
      rank[q] += !q_first;
    }
  }
}

// Prunes `prunings` positions over all groups: evenly, then where the next one costs least.
std::vector<uint8_t> choose_patterns(const std::vector<double>& saliency, int m, int64_t prunings) {
  const auto size = static_cast<int64_t>(saliency.size());
  const int base = static_cast<int>(prunings / (size / m));
  const bool between = prunings % (size / m) != 0;
  std::vector<uint8_t> keep(saliency.size());
  std::vector<std::pair<double, int64_t>> next;  // loss, position
  int64_t left = prunings;
  std::array<int, kMaxGroup> rank;
  for (int64_t first = 0; first < size; first += m) {
    const double* group = saliency.data() + first;
    drop_ranks(group, m, rank);
    const int closed = static_cast<int>(std::count(group, group + m, kClosed));
    const int zeros = std::max(base, closed);
    for (int p = 0; p < m; ++p) keep[first + p] = rank[p] >= zeros;
    left -= zeros;
    if (!between || closed > base) continue;
    const auto position = std::find(rank.begin(), rank.begin() + m, base) - rank.begin();
    next.emplace_back(group[position], first + position);
  }
  if (left > 0) {
    std::nth_element(next.begin(), next.begin() + left, next.end());
    for (int64_t i = 0; i < left; ++i) keep[next[i].second] = 0;
  }
  return keep;
}

Mask spread_over_rows(const std::vector<uint8_t>& keep, int64_t rows, int64_t cols,
                      const RowSets& sets, const Mask* within) {
  Mask mask{rows, cols, std::vector<uint8_t>(static_cast<size_t>(rows * cols))};
  for (size_t i = 0; i < sets.size(); ++i) {
    const uint8_t* pattern = keep.data() + i * cols;
    for (const int64_t row : sets[i]) {
      uint8_t* out = mask.keep.data() + row * cols;
      for (int64_t c = 0; c < cols; ++c) {
        out[c] = pattern[c] & (within ? within->keep[row * cols + c] != 0 : 1);
      }
    }
  }
  return mask;
}

// The invariants on which training rests; checked because they cost next to nothing.
void verify(std::string_view name, const Mask& mask, int m, int most_kept, const Mask* within) {
  for (size_t first = 0; first < mask.keep.size(); first += m) {
    int kept = 0;
    for (size_t i = first; i < first + m; ++i) {
      kept += mask.keep[i];
      if (within && mask.keep[i] > (within->keep[i] != 0)) {
        throw Error(name, fmt::format("internal: weight {} came back to life in a nested mask", i));
      }
    }
    if (kept > most_kept) {
      throw Error(name, fmt::format("internal: a group keeps {} of {} weights, at most {} allowed",
                                    kept, m, most_kept));
    }
  }
}

}  // namespace

double Mask::sparsity() const {
  if (keep.empty()) return 0;
  const auto zeros = std::count(keep.begin(), keep.end(), 0);
  return static_cast<double>(zeros) / static_cast<double>(keep.size());
}

MaskResult compute_mask(std::string_view name, std::span<const float> saliency, int64_t rows,
                        int64_t cols, const MaskOptions& options) {
  const auto [n, m] = options.pattern;
  check_pattern(name, options.pattern, options.sparsity);
  check_shape(name, saliency.size(), rows, cols, options);
  check_saliency(name, saliency, cols);

  const std::vector<double> remaining = remaining_saliency(saliency, options.within);
  RowSets sets = choose_sets(name, remaining, rows, cols, options);
  const std::vector<double> sums = sum_sets(remaining, cols, sets, options.within);
  const int64_t blocks = static_cast<int64_t>(sums.size()) / m;
  const int64_t prunings =
      std::min(std::llround(options.sparsity * static_cast<double>(blocks * m)),
               static_cast<long long>(blocks * (m - n)));
  const std::vector<uint8_t> keep = choose_patterns(sums, m, prunings);
  Mask mask = spread_over_rows(keep, rows, cols, sets, options.within);
  verify(name, mask, m, m - static_cast<int>(prunings / blocks), options.within);
  return {std::move(mask), std::move(sets)};
}

}  // namespace twofour
