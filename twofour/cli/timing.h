// Times of things that run in turns, and what is said about them.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "twofour/metrics/quantile.h"

namespace twofour::cli {

inline constexpr int kWarmUps = 3;

struct Timing {
  double median_ms = 0, p95_ms = 0;
  std::optional<double> spread;  // interquartile range over the median; none of one time
};
Timing summarize(const std::vector<double>& ms);

// Median and quartiles of other / own over pairs of runs: above 1, own is faster.
struct Ratio {
  double median = 0, low = 0, high = 0;
  size_t pairs = 0;
};
Ratio compare_times(const std::vector<double>& own_ms, const std::vector<double>& other_ms);

// For tables; "-" where one time or pair has no spread and no quartiles.
std::string format_spread(const std::optional<double>& spread);  // "4.2", in percent
std::string format_quartiles(const Ratio& ratio);                // "0.98 .. 1.04"

nlohmann::ordered_json json_or_null(const std::optional<double>& value);

// [run][round], milliseconds. In a round each of `runs` has its turn, repeated so often that the
// clock's resolution does not count.
std::vector<std::vector<double>> time_in_turns(std::span<const std::function<void()>> runs,
                                               int rounds);

}  // namespace twofour::cli
