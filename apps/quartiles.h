// What the benchmarks of the applications print of repeated measurements.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace twofour {

// {"median", "low", "high"}: the quartiles of `values`, of which there is at least one.
inline nlohmann::ordered_json quartiles(std::vector<double> values) {
  std::ranges::sort(values);
  const auto at = [&](size_t quarter) { return values[(values.size() - 1) * quarter / 4]; };
  return {{"median", at(2)}, {"low", at(1)}, {"high", at(3)}};
}

}  // namespace twofour
