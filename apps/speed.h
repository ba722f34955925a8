// What the benchmarks of the applications measure and print.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace twofour {

template <class Action>
double seconds_of(const Action& action) {
  const auto begin = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

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

// Two speeds and their ratio. In turns, so that the ratio holds when the machine's speed drifts.
inline nlohmann::ordered_json in_turns(const std::string& unit, int rounds,
                                       const std::function<double()>& first,
                                       const std::function<double()>& second) {
  std::vector<double> speed, other, ratio;
  for (int round = 0; round <= rounds; ++round) {
    const double a = first(), b = second();
    if (round == 0) continue;  // warms up
    speed.push_back(a);
    other.push_back(b);
    ratio.push_back(a / b);
  }
  return {{unit, quartiles(speed)},
          {"against_" + unit, quartiles(other)},
          {"times_as_fast", quartiles(ratio)}};
}

}  // namespace twofour
