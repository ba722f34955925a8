// Finds the amax of an activation from samples.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// Histogram of |x| with int64 counts. The bin width is the smallest power of two for which the
// largest |x| so far has a bin; when it grows, bins merge in pairs. So histograms over any ranges
// merge exactly, and the same values give the same histogram in any order and any split. Zeros
// count in bin 0.
class Histogram {
 public:
  explicit Histogram(int bins = 2048);  // throws Error unless 2 <= bins <= 2^20

  void add(std::span<const float>
               values);  // throws Error on values that are not finite, having added nothing
  void merge(const Histogram& other);  // throws Error if the number of bins differs

  int64_t count() const;
  float max() const { return max_; }  // exact largest |x| seen, 0 if none
  double bin_width() const;
  const std::vector<int64_t>& counts() const { return counts_; }

  // For checkpoints: exact. deserialize throws Error on anything but the output of serialize.
  std::string serialize() const;
  static Histogram deserialize(std::string_view bytes);

  bool operator==(const Histogram&) const = default;

 private:
  void grow(int exponent);

  std::vector<int64_t> counts_;
  int exponent_;  // bins are 2^exponent_ wide
  float max_ = 0;
};

struct CalibrationMethod {
  // kPercentile: the smallest upper edge of a bin below which at least `percentile` per cent of the
  // values lie.
  //
  // kEntropy: the threshold whose clipped and quantized histogram has the least Kullback-Leibler
  // divergence from the full one, as in TensorRT. Bin 0 takes the count of bin 1, so that zeros do
  // not drown the rest; what is clipped goes to the last occupied bin.
  //
  // kMse: the threshold with the least expected squared error of clipping and rounding.
  enum class Kind { kMax, kPercentile, kEntropy, kMse } kind = Kind::kPercentile;
  double percentile = 99.99;  // in (0, 100]

  // "max", "percentile", "percentile:99.9", "entropy", "mse"; throws Error listing them for
  // anything else
  static CalibrationMethod parse(std::string_view name);
  std::string to_string() const;
};

// Never above histogram.max(). Throws Error for an empty histogram.
float amax_from_histogram(const Histogram& histogram, const CalibrationMethod& method,
                          int bits = 8);

}  // namespace twofour
