// What the benchmarks of the applications print of repeated measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

namespace twofour {

// {"median", "low", "high"}: the quartiles of `values`, of which there is at least one.
inline nlohmann::ordered_json quartiles(std::vector<double> values) {
  std::ranges::sort(values);
  // Linear between order statistics, as NumPy's default and the command's benchmarks.
  const auto at = [&](size_t quarter) {
    const size_t position = (values.size() - 1) * quarter;
    const size_t below = position / 4, above = std::min(below + 1, values.size() - 1);
    return std::lerp(values[below], values[above], static_cast<double>(position % 4) / 4);
  };
  return {{"median", at(2)}, {"low", at(1)}, {"high", at(3)}};
}

}  // namespace twofour
