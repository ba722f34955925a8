#include "twofour/quant/calibrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "twofour/base/error.h"

namespace twofour {
namespace {

using Kind = CalibrationMethod::Kind;

// Bins up to the one that holds the largest value.
std::vector<double> used_bins(const Histogram& histogram) {
  const auto last = static_cast<int64_t>(histogram.max() / histogram.bin_width());
  return {histogram.counts().begin(), histogram.counts().begin() + last + 1};
}

double percentile_threshold(const Histogram& histogram, double percentile) {
  const auto needed = percentile * static_cast<double>(histogram.count()) / 100;
  int64_t covered = 0;
  const auto& counts = histogram.counts();
  size_t bin = 0;
  for (; bin < counts.size(); ++bin) {
    covered += counts[bin];
    if (static_cast<double>(covered) >= needed) break;
  }
  return static_cast<double>(bin + 1) * histogram.bin_width();
}

// Prefix sums from which the divergence at any threshold takes one step for each level.
struct EntropySums {
  std::vector<double> count, occupied, plogp;
  std::vector<int64_t> last;  // last occupied bin before `stop`, -1 if none

  explicit EntropySums(const std::vector<double>& bins)
      : count(bins.size() + 1),
        occupied(bins.size() + 1),
        plogp(bins.size() + 1),
        last(bins.size() + 1, -1) {
    for (size_t i = 0; i < bins.size(); ++i) {
      const bool used = bins[i] > 0;
      count[i + 1] = count[i] + bins[i];
      occupied[i + 1] = occupied[i] + used;
      plogp[i + 1] = plogp[i] + (used ? bins[i] * std::log(bins[i]) : 0.0);
      last[i + 1] = used ? static_cast<int64_t>(i) : last[i];
    }
  }
};

// KL(P || Q): P is the histogram clipped after `stop` bins, with what lies beyond added to its last
// occupied bin (an empty one would make the divergence infinite wherever outliers lie behind a
// gap); Q spreads each level's count, without what lies beyond, evenly over its occupied bins.
double divergence(const EntropySums& sums, const std::vector<double>& bins, int64_t stop,
                  int64_t levels) {
  const int64_t last = sums.last[stop];
  if (last < 0) return std::numeric_limits<double>::infinity();
  const double total = sums.count.back();
  const double beyond = total - sums.count[stop];
  const double folded = bins[last] + beyond;
  const double p_log_p = sums.plogp[last] + folded * std::log(folded);
  double p_log_q = 0;
  for (int64_t level = 0; level < levels; ++level) {
    const int64_t begin = (level * stop + levels - 1) / levels;
    const int64_t end = ((level + 1) * stop + levels - 1) / levels;
    const double occupied = sums.occupied[end] - sums.occupied[begin];
    if (occupied == 0) continue;
    const double q_count = sums.count[end] - sums.count[begin];
    const double p_count = q_count + (begin <= last && last < end ? beyond : 0.0);
    p_log_q += p_count * std::log(q_count / occupied);
  }
  // P sums to `total`, Q to what is not beyond.
  return (p_log_p - p_log_q) / total + std::log(sums.count[stop] / total);
}

double entropy_threshold(const Histogram& histogram, int bits) {
  std::vector<double> bins = used_bins(histogram);
  const int64_t levels = int64_t{1} << (bits - 1);
  if (static_cast<int64_t>(bins.size()) <= levels) return histogram.max();
  bins[0] = bins[1];
  const EntropySums sums(bins);
  double least = std::numeric_limits<double>::infinity();
  auto best = static_cast<int64_t>(bins.size());
  for (auto stop = levels; stop <= static_cast<int64_t>(bins.size()); ++stop) {
    const double kl = divergence(sums, bins, stop, levels);
    if (kl <= least) {
      least = kl;
      best = stop;
    }
  }
  return static_cast<double>(best) * histogram.bin_width();
}

// In units of the bin width, all values at the middle of their bin.
double squared_error(const std::vector<double>& bins, double threshold, int qmax) {
  const double scale = threshold / qmax;
  double error = 0;
  for (size_t i = 0; i < bins.size(); ++i) {
    const double value = static_cast<double>(i) + 0.5;
    const int level = std::min(static_cast<int>(value / scale + 0.5), qmax);
    const double difference = value - level * scale;
    error += bins[i] * difference * difference;
  }
  return error;
}

double mse_threshold(const Histogram& histogram, int bits) {
  const std::vector<double> bins = used_bins(histogram);
  const int qmax = (1 << (bits - 1)) - 1;
  const auto levels = static_cast<size_t>(qmax) + 1;
  if (bins.size() <= levels) return histogram.max();
  double least = std::numeric_limits<double>::infinity();
  size_t best = bins.size();
  for (size_t stop = levels; stop <= bins.size(); ++stop) {
    const double error = squared_error(bins, static_cast<double>(stop), qmax);
    if (error <= least) {
      least = error;
      best = stop;
    }
  }
  return static_cast<double>(best) * histogram.bin_width();
}

double threshold(const Histogram& histogram, const CalibrationMethod& method, int bits) {
  switch (method.kind) {
    case Kind::kMax:
      return histogram.max();
    case Kind::kPercentile:
      return percentile_threshold(histogram, method.percentile);
    case Kind::kEntropy:
      return entropy_threshold(histogram, bits);
    case Kind::kMse:
      return mse_threshold(histogram, bits);
  }
  throw Error("calibration", "unknown method");
}

bool is_percentile(double value) { return value > 0 && value <= 100; }

}  // namespace

CalibrationMethod CalibrationMethod::parse(std::string_view name) {
  constexpr std::string_view kPrefix = "percentile:";
  if (name == "max") return {Kind::kMax};
  if (name == "percentile") return {Kind::kPercentile};
  if (name == "entropy") return {Kind::kEntropy};
  if (name == "mse") return {Kind::kMse};
  if (name.starts_with(kPrefix)) {
    const std::string_view digits = name.substr(kPrefix.size());
    double value = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (status == std::errc{} && end == digits.data() + digits.size() && is_percentile(value)) {
      return {Kind::kPercentile, value};
    }
  }
  throw Error("calibration",
              fmt::format("expected max, percentile, percentile:P with P in (0, 100], "
                          "entropy or mse, found \"{}\"",
                          name));
}

std::string CalibrationMethod::to_string() const {
  switch (kind) {
    case Kind::kMax:
      return "max";
    case Kind::kPercentile:
      return fmt::format("percentile:{}", percentile);
    case Kind::kEntropy:
      return "entropy";
    case Kind::kMse:
      return "mse";
  }
  throw Error("calibration", "unknown method");
}

float amax_from_histogram(const Histogram& histogram, const CalibrationMethod& method, int bits) {
  if (histogram.count() == 0)
    throw Error("calibration", "the histogram is empty", "Add samples first");
  if (bits < 2 || bits > 8)
    throw Error("calibration", fmt::format("bits is {}, expected 2 to 8", bits));
  if (!is_percentile(method.percentile)) {
    throw Error("calibration",
                fmt::format("percentile is {}, expected (0, 100]", method.percentile));
  }
  if (histogram.max() == 0) return 0;
  const double found = threshold(histogram, method, bits);
  return static_cast<float>(std::min(found, static_cast<double>(histogram.max())));
}

}  // namespace twofour
