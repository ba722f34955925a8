#include "twofour/backend/cpu/row_sharing.h"

#include <algorithm>

namespace twofour {
namespace {

// Non-zero positions of a set's rows, a bit for each column.
using Pattern = std::vector<uint64_t>;

struct RowSet {
  std::vector<int32_t> rows;
  Pattern pattern;
};

template <class T>
Pattern pattern_of_row(const T* row, int64_t k) {
  Pattern pattern((k + 63) / 64);
  for (int64_t j = 0; j < k; ++j) pattern[j / 64] |= static_cast<uint64_t>(row[j] != 0) << (j % 64);
  return pattern;
}

// No nibble of `bits` has more than two bits.
bool is_2_of_4(uint64_t bits) {
  const uint64_t pairs = bits - ((bits >> 1) & 0x5555555555555555u);
  const uint64_t counts = (pairs & 0x3333333333333333u) + ((pairs >> 2) & 0x3333333333333333u);
  const uint64_t three_or_four =
      (counts & (counts >> 1) & 0x1111111111111111u) | ((counts >> 2) & 0x1111111111111111u);
  return three_or_four == 0;
}

bool compatible(const Pattern& a, const Pattern& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!is_2_of_4(a[i] | b[i])) return false;
  }
  return true;
}

void absorb(RowSet& set, RowSet& other) {
  set.rows.insert(set.rows.end(), other.rows.begin(), other.rows.end());
  for (size_t i = 0; i < set.pattern.size(); ++i) set.pattern[i] |= other.pattern[i];
  other.rows.clear();
}

// Each set takes the first later one that fits; `left` keeps those that found none. Incompatible
// patterns differ within their first words, so the search over all pairs is cheap.
std::vector<RowSet> match(std::vector<RowSet>& sets, std::vector<std::vector<int32_t>>& left) {
  std::vector<RowSet> merged;
  for (size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].rows.empty()) continue;
    size_t j = i + 1;
    while (j < sets.size() &&
           (sets[j].rows.empty() || !compatible(sets[i].pattern, sets[j].pattern)))
      ++j;
    if (j == sets.size()) {
      left.push_back(std::move(sets[i].rows));
      continue;
    }
    absorb(sets[i], sets[j]);
    merged.push_back(std::move(sets[i]));
  }
  return merged;
}

}  // namespace

SharingPlan plan_sharing(const TensorView& w) {
  const int64_t n = w.shape[0], k = w.shape[1];
  std::vector<RowSet> rows(n);
  for (int64_t i = 0; i < n; ++i) {
    rows[i] = {{static_cast<int32_t>(i)},
               w.dtype == DType::kI8 ? pattern_of_row(w.as<int8_t>().data() + i * k, k)
                                     : pattern_of_row(w.as<float>().data() + i * k, k)};
  }
  SharingPlan plan;
  std::vector<RowSet> pairs = match(rows, plan.singles);
  for (RowSet& quad : match(pairs, plan.pairs)) plan.quads.push_back(std::move(quad.rows));
  return plan;
}

}  // namespace twofour
