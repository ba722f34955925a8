// The numbers of rows for which plans are made: a product of m rows runs with the next larger one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace twofour::cuda {

class Buckets {
 public:
  // 16, 32, ... up to `limit` rounded up to a multiple of 16; m rows take bucket
  // (m + 15) / 16 - 1. Source: the plug-in of NVIDIA's and Tencent's article on 2:4 sparsity.
  static Buckets every_16(int64_t limit);

  // Multiples of 16 in ascending order, e.g. {16, 64, 256, 1024}. Throws Error for any other list.
  static Buckets of(std::vector<int64_t> rows);

  size_t count() const { return rows_.size(); }
  int64_t rows(size_t index) const { return rows_[index]; }
  int64_t smallest() const { return rows_.front(); }
  int64_t limit() const { return rows_.back(); }
  const std::vector<int64_t>& all() const { return rows_; }

  // The smallest bucket of at least m rows. Throws Error unless 1 <= m <= limit().
  size_t index_for(int64_t m) const;
  // The largest bucket of at most m rows, if there is one.
  std::optional<size_t> index_within(int64_t m) const;

 private:
  Buckets(std::vector<int64_t> rows, bool every_16) : rows_(std::move(rows)), every_16_(every_16) {}

  std::vector<int64_t> rows_;
  bool every_16_ = false;  // an index needs no search
};

// A part of a product: rows [first, first + rows) of x and y, run as `bucket` rows.
struct RowSegment {
  int64_t first = 0, rows = 0, bucket = 0;
  bool staged = false;  // through scratch memory, for lack of room behind the rows
  bool operator==(const RowSegment&) const = default;
};

// How m rows run when `room` rows (m or more) may be read from x and written to y. Where the last
// bucket would reach beyond the room, whole buckets run in place and only what is left over, fewer
// rows than the smallest bucket, is staged. Throws Error unless 1 <= m <= room.
std::vector<RowSegment> split_rows(const Buckets& buckets, int64_t m, int64_t room);

}  // namespace twofour::cuda
