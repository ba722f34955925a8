#include <fmt/format.h>

#include <algorithm>
#include <compare>
#include <numeric>
#include <span>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/sparse/elements.h"
#include "twofour/sparse/sparse24.h"

namespace twofour {
namespace {

constexpr int kGroup = 4;

// Masks of all rows, one bit for each column: 16 groups a word.
class MaskWords {
 public:
  explicit MaskWords(const TensorView& matrix)
      : rows_(matrix.shape[0]), words_((matrix.shape[1] + 63) / 64), bits_(rows_ * words_, 0) {
    const int64_t cols = matrix.shape[1];
    dispatch_elements(matrix.dtype, [&]<class E>(E) {
      std::vector<typename E::Bits> values(cols);
      for (int64_t row = 0; row < rows_; ++row) {
        E::load(matrix.data, row * cols, static_cast<int>(cols), values.data());
        uint64_t* out = bits_.data() + row * words_;
        for (int64_t c = 0; c < cols; ++c) {
          out[c / 64] |= static_cast<uint64_t>(!E::is_zero(values[c])) << (c % 64);
        }
      }
    });
  }

  int64_t rows() const { return rows_; }
  std::span<const uint64_t> row(int64_t row) const {
    return {bits_.data() + row * words_, static_cast<size_t>(words_)};
  }

 private:
  int64_t rows_;
  int64_t words_;
  std::vector<uint64_t> bits_;
};

bool every_nibble_has_at_most_two_bits(uint64_t word) {
  constexpr uint64_t kOdd = 0x5555555555555555u, kPairs = 0x3333333333333333u;
  const uint64_t pairs = (word & kOdd) + ((word >> 1) & kOdd);
  const uint64_t counts = (pairs & kPairs) + ((pairs >> 2) & kPairs);
  return ((counts + kOdd) & 0x8888888888888888u) == 0;
}

struct OpenSet {
  std::vector<int32_t> rows;
  std::vector<uint64_t> joint;  // union of the masks
};

bool fits(const std::vector<uint64_t>& joint, std::span<const uint64_t> mask) {
  for (size_t i = 0; i < mask.size(); ++i) {
    if (!every_nibble_has_at_most_two_bits(joint[i] | mask[i])) return false;
  }
  return true;
}

// Full sets of rows with equal masks go to `sets`; returns the rows left over, ascending.
std::vector<int32_t> take_equal_rows(const MaskWords& masks, int share_rows, RowSets& sets) {
  std::vector<int32_t> order(masks.rows());
  std::iota(order.begin(), order.end(), 0);
  const auto compare = [&](int32_t a, int32_t b) {
    const auto x = masks.row(a), y = masks.row(b);
    return std::lexicographical_compare_three_way(x.begin(), x.end(), y.begin(), y.end());
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return std::is_lt(compare(a, b)); });
  std::vector<int32_t> rest;
  for (auto first = order.begin(); first != order.end();) {
    const auto last = std::find_if(first, order.end(),
                                   [&](int32_t row) { return std::is_neq(compare(*first, row)); });
    for (; last - first >= share_rows; first += share_rows)
      sets.emplace_back(first, first + share_rows);
    rest.insert(rest.end(), first, last);
    first = last;
  }
  std::sort(rest.begin(), rest.end());
  return rest;
}

// Moves each row into the first set that it fits; false if some set stays short.
bool take_compatible_rows(const MaskWords& masks, const std::vector<int32_t>& rows, int share_rows,
                          RowSets& sets) {
  std::vector<OpenSet> open;
  for (const int32_t row : rows) {
    const auto mask = masks.row(row);
    auto set = std::find_if(open.begin(), open.end(),
                            [&](const OpenSet& s) { return fits(s.joint, mask); });
    if (set == open.end()) set = open.insert(set, {{}, std::vector<uint64_t>(mask.size(), 0)});
    set->rows.push_back(row);
    for (size_t i = 0; i < mask.size(); ++i) set->joint[i] |= mask[i];
    if (set->rows.size() == static_cast<size_t>(share_rows)) {
      sets.push_back(std::move(set->rows));
      open.erase(set);
    }
  }
  return open.empty();
}

}  // namespace

std::optional<RowSets> find_row_sets(const TensorView& matrix, int share_rows) {
  constexpr std::string_view kWhere = "find_row_sets";
  check_matrix(kWhere, matrix);
  if (share_rows < 1)
    throw Error(kWhere, fmt::format("share_rows is {}, expected at least 1", share_rows));
  if (matrix.shape[1] % kGroup != 0 || matrix.shape[0] % share_rows != 0) return std::nullopt;
  if (find_violation(matrix)) return std::nullopt;
  const MaskWords masks(matrix);
  RowSets sets;
  const std::vector<int32_t> rest = take_equal_rows(masks, share_rows, sets);
  if (!take_compatible_rows(masks, rest, share_rows, sets)) return std::nullopt;
  std::sort(sets.begin(), sets.end());
  return sets;
}

}  // namespace twofour
