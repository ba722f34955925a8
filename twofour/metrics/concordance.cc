#include "twofour/metrics/concordance.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace twofour {
namespace {

// Counts of items by rank, with prefix sums in O(log n).
class FenwickTree {
 public:
  explicit FenwickTree(size_t size) : counts_(size + 1) {}

  void add(size_t rank) {
    for (size_t i = rank + 1; i < counts_.size(); i += i & -i) ++counts_[i];
  }

  int64_t below(size_t rank) const {
    int64_t sum = 0;
    for (size_t i = rank; i > 0; i -= i & -i) sum += counts_[i];
    return sum;
  }

 private:
  std::vector<int64_t> counts_;
};

// Dense ranks from 0; equal values share one.
std::vector<size_t> dense_ranks(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  std::vector<size_t> ranks(values.size());
  std::transform(values.begin(), values.end(), ranks.begin(), [&](double value) {
    return std::lower_bound(sorted.begin(), sorted.end(), value) - sorted.begin();
  });
  return ranks;
}

}  // namespace

Concordance count_concordance(std::span<const double> x, std::span<const double> y) {
  const std::vector<size_t> rank = dense_ranks(y);
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return x[a] != x[b] ? x[a] < x[b] : rank[a] < rank[b]; });

  Concordance out;
  FenwickTree seen(x.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    size_t run = 0;  // items of this group with the current y
    for (end = begin; end < order.size() && x[order[end]] == x[order[begin]]; ++end) {
      const size_t r = rank[order[end]];
      const auto lower = seen.below(r), upper_edge = seen.below(r + 1);
      out.concordant += lower;
      out.tied_y_only += upper_edge - lower;
      out.discordant += static_cast<int64_t>(begin) - upper_edge;
      run = end > begin && rank[order[end - 1]] == r ? run + 1 : 0;
      out.tied_x_only += static_cast<int64_t>(end - begin - run);
    }
    for (size_t i = begin; i < end; ++i) seen.add(rank[order[i]]);
  }
  return out;
}

}  // namespace twofour
