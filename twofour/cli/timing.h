// Times of things that run in turns, and what is said about them.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "twofour/metrics/quantile.h"

namespace twofour::cli {

inline constexpr int kWarmUps = 3;

struct Timing {
  double median_ms = 0, p95_ms = 0;
  double spread = 0;  // interquartile range over the median
};
Timing summarize(const std::vector<double>& ms);

// Median and quartiles of other / own over pairs of runs: above 1, own is faster.
struct Ratio {
  double median = 0, low = 0, high = 0;
};
Ratio compare_times(const std::vector<double>& own_ms, const std::vector<double>& other_ms);

// [run][round], milliseconds. In a round each of `runs` has its turn, repeated so often that the
// clock's resolution does not count.
std::vector<std::vector<double>> time_in_turns(std::span<const std::function<void()>> runs,
                                               int rounds);

}  // namespace twofour::cli
