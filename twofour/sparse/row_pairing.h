// Which rows lose least when they must keep the same pattern.
#pragma once

#include <cstdint>
#include <span>

#include "twofour/sparse/mask.h"

namespace twofour {

// Rows fall into sets of `share_rows` (a power of two that divides `rows`) with little saliency
// lost at the full n:m pattern: rows are paired, then pairs, and so on; each level is a greedy
// matching improved by 2-opt over all pairs of pairs. No set leaves its window, `window_rows` rows
// from a multiple of that on, which are a multiple of `share_rows`. Saliency is finite and >= 0.
RowSets least_energy_sets(std::span<const double> saliency, int64_t rows, int64_t cols,
                          NmPattern pattern, int share_rows, int64_t window_rows);

// Of RowPairing::kNearby: the rows that 8 or 16 lanes of patterns hold are whole windows.
constexpr int64_t nearby_window(int share_rows) { return share_rows > 2 ? 32 : 16; }

// Saliency lost when each set drops, in every group, the m - n positions with the least sum over
// its rows.
double lost_saliency(std::span<const double> saliency, int64_t cols, NmPattern pattern,
                     const RowSets& sets);

}  // namespace twofour
