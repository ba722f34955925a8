// Saliency -> mask: which weights of a matrix stay.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// At most n non-zero values in each aligned group of m along the reduction dimension; 1 <= n <= m
// <= 32.
struct NmPattern {
  int n = 2;
  int m = 4;
  bool operator==(const NmPattern&) const = default;
};

// 1 = kept, 0 = pruned; [rows, cols] row-major, cols is the reduction dimension.
struct Mask {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<uint8_t> keep;

  double sparsity() const;  // share of zeros
};

// Rows that keep the same pattern: sets[i] lists the output rows of set i.
using RowSets = std::vector<std::vector<int32_t>>;

enum class RowPairing {
  kAdjacent,     // set i is the rows [r * i, r * (i + 1))
  kLeastEnergy,  // greedy pairing + 2-opt on the saliency lost at the full n:m, then pairs of
                 // pairs; never worse than adjacent rows. Above 4096 rows each block of 4096 is
                 // paired by itself.
  kNearby,       // the same in windows of 16 rows, of 32 where more than 2 share: a CPU kernel
                 // holds all rows of a window at once and stores them in order
};

struct MaskOptions {
  NmPattern pattern = {};
  // Share of zeros, in [0, 1 - n/m]. Every group loses floor(share * m) weights; then the groups
  // that lose least saliency by it, over the whole matrix, lose one more, until the number of zeros
  // is the nearest to share * size.
  double sparsity = 0.5;
  int share_rows = 1;  // 1, 2, 4, 8, 16 or 32
  RowPairing pairing = RowPairing::kAdjacent;
  // Nested: what this mask pruned stays pruned and counts towards the zeros of its group. Where it
  // differs between the rows of a set, a position counts once all rows have pruned it, and a row
  // may have more zeros than the set's pattern.
  const Mask* within = nullptr;
  const RowSets* row_sets = nullptr;  // reuse an earlier partition instead of pairing again
};

struct MaskResult {
  Mask mask;
  RowSets row_sets;  // singletons when share_rows is 1; rows ascend within a set, sets by their
                     // first row
};

// The mask that keeps the most saliency, summed over the rows of a set: what a row of the set keeps
// is a subset of one common n:m pattern. Sums run in a fixed order in double, ties keep the lower
// index: the same mask on every machine and thread count. Throws Error: cols % m != 0, rows %
// share_rows != 0, an impossible sparsity, saliency that is negative or not finite (with its
// position), shapes that disagree, row sets that are no partition; `name` goes into messages.
MaskResult compute_mask(std::string_view name, std::span<const float> saliency, int64_t rows,
                        int64_t cols, const MaskOptions& options);

// Turns weights into saliency, elementwise: "magnitude" |w|, "energy" w^2.
using SaliencyFunction =
    std::function<void(std::span<const float> weights, std::span<float> saliency)>;
SaliencyFunction saliency_by_name(std::string_view name);  // throws Error listing the known names
std::vector<std::string> saliency_names();

}  // namespace twofour
