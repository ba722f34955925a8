// Quantiles of samples.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace twofour {

// Linear between order statistics, as NumPy's default. `values` are not empty.
inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const double low = values[below], high = values[std::min(below + 1, values.size() - 1)];
  // Between an infinite one and its neighbour there is no number.
  if (low == high || std::isinf(low)) return low;
  return std::isinf(high) ? high : std::lerp(low, high, position - static_cast<double>(below));
}

}  // namespace twofour
