// Finds the amax of an activation from samples.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// Histogram of |x| with int64 counts, whose range grows by doubling the bin width (bins merge in pairs), so that
// histograms over any ranges merge exactly and in any order give the same counts.
class Histogram {
 public:
  explicit Histogram(int bins = 2048);

  void add(std::span<const float> values);  // throws Error on values that are not finite
  void merge(const Histogram& other);       // throws Error if the number of bins differs

  int64_t count() const;
  float max() const;       // exact largest |x| seen
  double bin_width() const;
  const std::vector<int64_t>& counts() const { return counts_; }

  // For checkpoints: exact.
  std::string serialize() const;
  static Histogram deserialize(std::string_view bytes);

 private:
  // The owner of quant/ decides the state; it is exact and small.
  std::vector<int64_t> counts_;
  int exponent_ = 0;
  bool empty_ = true;
  float max_ = 0;
};

struct CalibrationMethod {
  enum class Kind { kMax, kPercentile, kEntropy, kMse } kind = Kind::kPercentile;
  double percentile = 99.99;

  static CalibrationMethod parse(std::string_view name);  // "max", "percentile", "percentile:99.9", "entropy", "mse"
  std::string to_string() const;
};

// Throws Error for an empty histogram.
float amax_from_histogram(const Histogram& histogram, const CalibrationMethod& method, int bits = 8);

}  // namespace twofour
