#include "twofour/cli/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "twofour/cli/stopwatch.h"

namespace twofour::cli {
namespace {

constexpr double kLeastMs = 0.1;  // of a turn
constexpr double kMostRepeats = 10000;

double run_ms(const std::function<void()>& run, int repeats) {
  const Stopwatch watch;
  for (int i = 0; i < repeats; ++i) run();
  return watch.seconds() * 1e3 / repeats;
}

int repeats_of(const std::function<void()>& run) {
  double ms = run_ms(run, 1);
  for (int i = 1; i < kWarmUps; ++i) ms = std::min(ms, run_ms(run, 1));
  return static_cast<int>(std::ceil(std::min(kLeastMs / std::max(ms, 1e-9), kMostRepeats)));
}

}  // namespace

Timing summarize(const std::vector<double>& ms) {
  const double median = quantile(ms, 0.5);
  Timing timing{median, quantile(ms, 0.95), std::nullopt};
  if (ms.size() > 1) timing.spread = (quantile(ms, 0.75) - quantile(ms, 0.25)) / median;
  return timing;
}

Ratio compare_times(const std::vector<double>& own_ms, const std::vector<double>& other_ms) {
  std::vector<double> ratios(own_ms.size());
  for (size_t i = 0; i < ratios.size(); ++i) ratios[i] = other_ms[i] / own_ms[i];
  return {quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75), ratios.size()};
}

std::string format_spread(const std::optional<double>& spread) {
  return spread ? fmt::format("{:.1f}", *spread * 100) : "-";
}

std::string format_quartiles(const Ratio& ratio) {
  return ratio.pairs > 1 ? fmt::format("{:.2f} .. {:.2f}", ratio.low, ratio.high) : "-";
}

nlohmann::ordered_json json_or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

std::vector<std::vector<double>> time_in_turns(std::span<const std::function<void()>> runs,
                                               int rounds) {
  std::vector<int> repeats;
  for (const auto& run : runs) repeats.push_back(repeats_of(run));
  std::vector<std::vector<double>> ms(runs.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < runs.size(); ++i) ms[i].push_back(run_ms(runs[i], repeats[i]));
  }
  return ms;
}

}  // namespace twofour::cli
