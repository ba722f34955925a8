#include "twofour/backend/cuda/buckets.h"

#include <fmt/format.h>

#include <algorithm>

#include "twofour/backend/cuda/product.h"
#include "twofour/base/error.h"

namespace twofour::cuda {

Buckets Buckets::every_16(int64_t limit) {
  if (limit < 1) throw Error("buckets", fmt::format("the limit is {}, expected 1 or more", limit));
  std::vector<int64_t> rows;
  for (int64_t m = kRowMultiple; m < limit + kRowMultiple; m += kRowMultiple) rows.push_back(m);
  return {std::move(rows), true};
}

Buckets Buckets::of(std::vector<int64_t> rows) {
  if (rows.empty()) throw Error("buckets", "the list is empty, expected at least one bucket");
  int64_t previous = 0;
  for (const int64_t m : rows) {
    if (m % kRowMultiple != 0 || m <= previous) {
      throw Error("buckets",
                  fmt::format("{} follows {}, expected multiples of {} in ascending order", m,
                              previous, kRowMultiple));
    }
    previous = m;
  }
  return {std::move(rows), false};
}

size_t Buckets::index_for(int64_t m) const {
  if (m < 1 || m > limit())
    throw Error("buckets", fmt::format("m is {}, expected 1 to {}", m, limit()));
  if (every_16_) return static_cast<size_t>((m + 15) / 16 - 1);
  return static_cast<size_t>(std::lower_bound(rows_.begin(), rows_.end(), m) - rows_.begin());
}

std::optional<size_t> Buckets::index_within(int64_t m) const {
  const auto after = std::upper_bound(rows_.begin(), rows_.end(), m);
  if (after == rows_.begin()) return std::nullopt;
  return static_cast<size_t>(after - rows_.begin() - 1);
}

std::vector<RowSegment> split_rows(const Buckets& buckets, int64_t m, int64_t room) {
  if (m < 1 || room < m) {
    throw Error(
        "split_rows",
        fmt::format("m is {} and there is room for {} rows, expected 1 <= m <= room", m, room));
  }
  std::vector<RowSegment> segments;
  for (int64_t first = 0; first < m;) {
    const int64_t left = m - first;
    int64_t bucket =
        left > buckets.limit() ? buckets.limit() : buckets.rows(buckets.index_for(left));
    const bool fits = first + bucket <= room;
    const auto within = buckets.index_within(left);
    if (!fits && within) bucket = buckets.rows(*within);
    const int64_t rows = std::min(left, bucket);
    segments.push_back({first, rows, bucket, !fits && !within});
    first += rows;
  }
  return segments;
}

}  // namespace twofour::cuda
