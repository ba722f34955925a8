#include "twofour/sparse/row_pairing.h"

#include <algorithm>
#include <array>
#include <queue>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace twofour {
namespace {

constexpr int kLanes = 4;
constexpr int kMaxGroup = 32;
// All pair costs of a block are held at once: 128 MiB.
constexpr int64_t kBlockRows = 4096;

using Pairs = std::vector<std::pair<int32_t, int32_t>>;

// Position-major copy of some rows, so that one instruction works on the same position of kLanes
// groups. Spare lanes are zero.
class Planes {
 public:
  Planes(std::span<const double> saliency, int64_t cols, int m) : m_(m) {
    const int64_t groups = cols / m;
    groups_ = (groups + kLanes - 1) / kLanes * kLanes;
    rows_ = static_cast<int64_t>(saliency.size()) / cols;
    values_.resize(rows_ * m * groups_);
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t c = 0; c < cols; ++c) {
        values_[(row * m + c % m) * groups_ + c / m] = saliency[row * cols + c];
      }
    }
  }

  int64_t rows() const { return rows_; }
  int64_t groups() const { return groups_; }
  const double* row(int64_t row) const { return values_.data() + row * m_ * groups_; }

 private:
  int m_;
  int64_t groups_ = 0;
  int64_t rows_ = 0;
  std::vector<double> values_;
};

// Sum over the groups of the `dropped` smallest of a[p] + b[p]. `m` is an int or an integral
// constant, for unrolling.
template <class M, class Dropped>
double pair_cost(const double* a, const double* b, int64_t groups, M m, Dropped dropped) {
  double total[kLanes] = {};
  for (int64_t g = 0; g < groups; g += kLanes) {
    double sum[kMaxGroup][kLanes];
    for (int p = 0; p < m; ++p) {
      for (int l = 0; l < kLanes; ++l) sum[p][l] = a[p * groups + g + l] + b[p * groups + g + l];
    }
    // Each round of exchanges brings the next smallest to the front.
    for (int k = 0; k < dropped; ++k) {
      for (int p = m - 1; p > k; --p) {
        for (int l = 0; l < kLanes; ++l) {
          const double low = sum[p][l] < sum[p - 1][l] ? sum[p][l] : sum[p - 1][l];
          const double high = sum[p][l] < sum[p - 1][l] ? sum[p - 1][l] : sum[p][l];
          sum[p - 1][l] = low;
          sum[p][l] = high;
        }
      }
      for (int l = 0; l < kLanes; ++l) total[l] += sum[k][l];
    }
  }
  double all = 0;
  for (const double lane : total) all += lane;
  return all;
}

// Symmetric matrix of pair costs, each row shifted by its mean: every matching contains every row
// once, so the shift moves all matchings alike, but greedy then takes first the pairs that beat an
// average partner by most instead of the rows with little saliency.
class Costs {
 public:
  Costs(const Planes& planes, NmPattern pattern) : rows_(planes.rows()), cost_(rows_ * rows_, 0.0) {
    if (pattern == NmPattern{}) {
      fill(planes, std::integral_constant<int, 4>{}, std::integral_constant<int, 2>{});
    } else {
      fill(planes, pattern.m, pattern.m - pattern.n);
    }
    shift_by_means();
  }

  int32_t rows() const { return static_cast<int32_t>(rows_); }
  const double* row(int32_t a) const { return cost_.data() + a * rows_; }
  double operator()(int32_t a, int32_t b) const { return cost_[a * rows_ + b]; }

 private:
  template <class M, class Dropped>
  void fill(const Planes& planes, M m, Dropped dropped) {
    constexpr int64_t kTile =
        8;  // rows that stay in the first-level cache while the others stream by
    for (int64_t tile = 0; tile < rows_; tile += kTile) {
      for (int64_t b = tile + 1; b < rows_; ++b) {
        for (int64_t a = tile; a < std::min(tile + kTile, b); ++a) {
          const double cost = pair_cost(planes.row(a), planes.row(b), planes.groups(), m, dropped);
          cost_[a * rows_ + b] = cost_[b * rows_ + a] = cost;
        }
      }
    }
  }

  void shift_by_means() {
    std::vector<double> mean(rows_, 0.0);
    for (int64_t a = 0; a < rows_; ++a) {
      for (int64_t b = 0; b < rows_; ++b) mean[a] += cost_[a * rows_ + b];
      mean[a] /= static_cast<double>(std::max<int64_t>(rows_ - 1, 1));
    }
    for (int64_t a = 0; a < rows_; ++a) {
      for (int64_t b = 0; b < rows_; ++b) cost_[a * rows_ + b] -= mean[a] + mean[b];
    }
  }

  int64_t rows_;
  std::vector<double> cost_;
};

// The free row that suits `a` best; the lower index among equals.
int32_t best_partner(const Costs& costs, const std::vector<uint8_t>& taken, int32_t a) {
  int32_t best = -1;
  const double* cost = costs.row(a);
  for (int32_t b = 0; b < costs.rows(); ++b) {
    if (b != a && !taken[b] && (best < 0 || cost[b] < cost[best])) best = b;
  }
  return best;
}

// Takes the cheapest pair of free rows again and again.
Pairs greedy_pairs(const Costs& costs) {
  using Entry =
      std::tuple<double, int32_t, int32_t>;  // cost, row, its best partner when it was pushed
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  std::vector<uint8_t> taken(costs.rows(), 0);
  const auto push = [&](int32_t a) {
    const int32_t b = best_partner(costs, taken, a);
    if (b >= 0) queue.emplace(costs(a, b), a, b);
  };
  for (int32_t a = 0; a < costs.rows(); ++a) push(a);
  Pairs pairs;
  while (!queue.empty()) {
    const auto [cost, a, b] = queue.top();
    queue.pop();
    if (taken[a]) continue;
    if (taken[b]) {
      push(a);
      continue;
    }
    taken[a] = taken[b] = 1;
    pairs.emplace_back(a, b);
  }
  return pairs;
}

// Re-pairs two pairs if that is cheaper. A sum that is smaller after rounding is smaller before it,
// so each change lowers the total, and the search ends.
bool improve(const Costs& costs, std::pair<int32_t, int32_t>& first,
             std::pair<int32_t, int32_t>& second) {
  const auto [a, b] = first;
  const auto [c, d] = second;
  const double now = costs(a, b) + costs(c, d);
  const double straight = costs(a, c) + costs(b, d);
  const double crossed = costs(a, d) + costs(b, c);
  if (std::min(straight, crossed) >= now) return false;
  if (straight <= crossed) {
    first = {a, c};
    second = {b, d};
  } else {
    first = {a, d};
    second = {b, c};
  }
  return true;
}

void two_opt(const Costs& costs, Pairs& pairs) {
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < pairs.size(); ++i) {
      for (size_t j = i + 1; j < pairs.size(); ++j) changed |= improve(costs, pairs[i], pairs[j]);
    }
  }
}

// Pairs of rows of `saliency`, an even number of them.
Pairs pair_block(std::span<const double> saliency, int64_t cols, NmPattern pattern) {
  const Costs costs(Planes(saliency, cols, pattern.m), pattern);
  Pairs pairs = greedy_pairs(costs);
  two_opt(costs, pairs);
  return pairs;
}

Pairs pair_rows(std::span<const double> saliency, int64_t rows, int64_t cols, NmPattern pattern,
                int64_t window_rows) {
  const int64_t block = std::min(kBlockRows, window_rows);
  Pairs all;
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    const Pairs pairs = pair_block(saliency.subspan(first * cols, count * cols), cols, pattern);
    for (const auto& [a, b] : pairs) {
      const auto [low, high] = std::minmax(a, b);
      all.emplace_back(static_cast<int32_t>(low + first), static_cast<int32_t>(high + first));
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

RowSets least_energy_sets(std::span<const double> saliency, int64_t rows, int64_t cols,
                          NmPattern pattern, int share_rows, int64_t window_rows) {
  RowSets sets(rows);
  for (int64_t row = 0; row < rows; ++row) sets[row] = {static_cast<int32_t>(row)};
  std::vector<double> sums(saliency.begin(), saliency.end());
  for (int share = 1; share < share_rows; share *= 2) {
    const Pairs pairs =
        pair_rows(sums, static_cast<int64_t>(sets.size()), cols, pattern, window_rows / share);
    RowSets merged;
    std::vector<double> merged_sums(sums.size() / 2);
    for (size_t i = 0; i < pairs.size(); ++i) {
      const auto [a, b] = pairs[i];
      for (int64_t c = 0; c < cols; ++c) {
        merged_sums[i * cols + c] = sums[a * cols + c] + sums[b * cols + c];
      }
      std::vector<int32_t>& set = merged.emplace_back(std::move(sets[a]));
      set.insert(set.end(), sets[b].begin(), sets[b].end());
      std::sort(set.begin(), set.end());
    }
    sets = std::move(merged);
    sums = std::move(merged_sums);
  }
  return sets;
}

double lost_saliency(std::span<const double> saliency, int64_t cols, NmPattern pattern,
                     const RowSets& sets) {
  double lost = 0;
  std::array<double, kMaxGroup> sum;
  for (const std::vector<int32_t>& set : sets) {
    for (int64_t first = 0; first < cols; first += pattern.m) {
      sum.fill(0);
      for (const int64_t row : set) {
        for (int p = 0; p < pattern.m; ++p) sum[p] += saliency[row * cols + first + p];
      }
      std::sort(sum.begin(), sum.begin() + pattern.m);
      for (int p = 0; p < pattern.m - pattern.n; ++p) lost += sum[p];
    }
  }
  return lost;
}

}  // namespace twofour
