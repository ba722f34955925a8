#include "twofour/quant/calibrator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "twofour/base/testing.h"

namespace twofour {
namespace {

using testing::HasSubstr;
using Kind = CalibrationMethod::Kind;

// Normal with a few far outliers, as activations have.
std::vector<float> activations(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(size);
  for (float& value : out) value = normal(random) * (random() % 2000 == 0 ? 12.0f : 1.0f);
  return out;
}

Histogram histogram_of(std::span<const float> values, int bins = 2048) {
  Histogram out(bins);
  out.add(values);
  return out;
}

TEST(Histogram, PutsEachValueInItsBin) {
  const std::vector<float> values = {0, -0.0f, 0.5f, -1, 7.99f, 3, 3.4f};
  const Histogram histogram = histogram_of(values, 16);
  EXPECT_EQ(histogram.bin_width(), 0.5);
  EXPECT_EQ(histogram.max(), 7.99f);
  EXPECT_EQ(histogram.count(), 7);
  EXPECT_THAT(histogram.counts(),
              testing::ElementsAre(2, 1, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1));
}

TEST(Histogram, HasTheSmallestWidthThatHoldsTheMaximum) {
  for (const float max : {1.0f, 1.999f, 2.0f, 3e38f, 1e-38f, 1e-45f, 0.7f}) {
    for (const int bins : {2, 3, 1000, 2048}) {
      const Histogram histogram = histogram_of(std::vector<float>{max}, bins);
      EXPECT_LT(max, bins * histogram.bin_width());
      EXPECT_GE(max, bins * histogram.bin_width() / 2);
      EXPECT_EQ(histogram.counts()[static_cast<size_t>(max / histogram.bin_width())], 1);
    }
  }
}

TEST(Histogram, IsTheSameInAnyOrderAndSplit) {
  const auto values = activations(30000, 1);
  const Histogram whole = histogram_of(values);
  std::mt19937 random(2);
  for (int trial = 0; trial < 10; ++trial) {
    std::vector<float> shuffled = values;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    std::vector<Histogram> parts;
    for (size_t first = 0; first < shuffled.size();) {
      const size_t count = std::min<size_t>(1 + random() % 5000, shuffled.size() - first);
      parts.push_back(histogram_of(std::span(shuffled).subspan(first, count)));
      first += count;
    }
    parts.emplace_back();
    parts.push_back(histogram_of({}));
    Histogram forward, backward;
    for (const Histogram& part : parts) forward.merge(part);
    std::for_each(parts.rbegin(), parts.rend(),
                  [&](const Histogram& part) { backward.merge(part); });
    EXPECT_EQ(forward, whole);
    EXPECT_EQ(backward, whole);
  }
  std::vector<float> ascending = values;
  std::sort(ascending.begin(), ascending.end(),
            [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  Histogram one_by_one;
  for (const float& value : ascending) one_by_one.add({&value, 1});
  EXPECT_EQ(one_by_one, whole);
}

TEST(Histogram, MergesZerosWithAnything) {
  Histogram zeros = histogram_of(std::vector<float>(5, 0.0f));
  EXPECT_EQ(zeros.counts()[0], 5);
  const Histogram some = histogram_of(std::vector<float>{3e38f, 1});
  Histogram merged = some;
  merged.merge(zeros);
  zeros.merge(some);
  EXPECT_EQ(merged, zeros);
  EXPECT_EQ(merged.counts()[0], 6);
}

// Merging with itself doubles a histogram: counts that no float32 can hold.
Histogram doubled(Histogram histogram, int times) {
  for (int i = 0; i < times; ++i) histogram.merge(Histogram(histogram));
  return histogram;
}

TEST(Histogram, CountsBeyondFloatPrecision) {
  Histogram histogram = doubled(histogram_of(std::vector<float>{1}), 40);
  histogram.add(std::vector<float>{1, 0.5f});
  EXPECT_EQ(histogram.count(), (int64_t{1} << 40) + 2);
  EXPECT_EQ(histogram.counts()[1024], (int64_t{1} << 40) + 1);
  EXPECT_EQ(error_of([&] { doubled(histogram, 30); }), "[histogram] more than 2^63 values");
}

TEST(Histogram, RefusesWhatIsNotFinite) {
  const Histogram before = histogram_of(std::vector<float>{1, 2});
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    Histogram histogram = before;
    EXPECT_THAT(error_of([&] {
                  histogram.add(std::vector<float>{1, bad, 9});
                }),
                HasSubstr("[histogram] value 1 of 3 is "));
    EXPECT_EQ(histogram, before);
  }
  Histogram other(1024);
  EXPECT_EQ(error_of([&] { other.merge(before); }), "[histogram] cannot merge 1024 bins with 2048");
  EXPECT_EQ(error_of([] { Histogram(1); }), "[histogram] 1 bins, expected 2 to 1048576");
}

TEST(Histogram, SerializesExactly) {
  for (const Histogram& histogram : {histogram_of(activations(1000, 3)), histogram_of({}),
                                     doubled(histogram_of(std::vector<float>{1e-44f, 0}, 7), 50)}) {
    EXPECT_EQ(Histogram::deserialize(histogram.serialize()), histogram);
  }
}

TEST(Histogram, RefusesDamagedBytes) {
  const std::string good = histogram_of(activations(1000, 3)).serialize();
  EXPECT_EQ(error_of([] { Histogram::deserialize("2"); }), "[histogram] 1 bytes are too few");
  EXPECT_EQ(error_of([&] { Histogram::deserialize(good.substr(0, 100)); }),
            "[histogram] expected 16408 bytes, found 100");
  const auto error_with = [&](size_t offset, auto value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + offset, &value, sizeof(value));
    return error_of([&] { Histogram::deserialize(bytes); });
  };
  EXPECT_EQ(error_with(0, 'x'), "[histogram] not a serialized histogram");
  EXPECT_THAT(error_with(8, int32_t{-1}), HasSubstr("-1 bins"));
  EXPECT_THAT(error_with(12, int32_t{5}), HasSubstr("damaged"));
  EXPECT_THAT(error_with(16, -1.0f), HasSubstr("damaged"));
  EXPECT_THAT(error_with(16, NAN), HasSubstr("damaged"));
  EXPECT_THAT(error_with(24, int64_t{-1}), HasSubstr("damaged"));
  EXPECT_THAT(error_with(24, std::numeric_limits<int64_t>::max()), HasSubstr("damaged"));
}

TEST(Percentile, CoversAtLeastTheShare) {
  const auto values = activations(20000, 4);
  const Histogram histogram = histogram_of(values);
  std::vector<float> sorted(values.size());
  std::transform(values.begin(), values.end(), sorted.begin(),
                 [](float v) { return std::fabs(v); });
  std::sort(sorted.begin(), sorted.end());
  for (const double p : {0.001, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const float amax = amax_from_histogram(histogram, {Kind::kPercentile, p});
    const auto rank = static_cast<size_t>(std::ceil(p * 20000 / 100)) - 1;
    EXPECT_GE(amax, sorted[rank]) << p;
    EXPECT_LE(amax, sorted[rank] + histogram.bin_width()) << p;
    EXPECT_LE(amax, histogram.max());
  }
  EXPECT_EQ(amax_from_histogram(histogram, {Kind::kPercentile, 100}), sorted.back());
}

TEST(Percentile, WorksWithFewValues) {
  const Histogram one = histogram_of(std::vector<float>{-3.25f});
  const Histogram two = histogram_of(std::vector<float>{-3.25f, 1});
  EXPECT_EQ(amax_from_histogram(one, {}), 3.25f);
  EXPECT_EQ(amax_from_histogram(two, {}), 3.25f);
  EXPECT_EQ(amax_from_histogram(two, {Kind::kPercentile, 50}),
            1 + static_cast<float>(two.bin_width()));
  EXPECT_EQ(amax_from_histogram(two, {Kind::kPercentile, 50.1}), 3.25f);
}

TEST(Calibration, AllMethodsKnowExtremes) {
  for (const char* name : {"max", "percentile", "percentile:50", "entropy", "mse"}) {
    const auto method = CalibrationMethod::parse(name);
    EXPECT_EQ(amax_from_histogram(histogram_of(std::vector<float>(9, 0.0f)), method), 0) << name;
    EXPECT_EQ(amax_from_histogram(histogram_of(std::vector<float>{1.7f}), method), 1.7f) << name;
    EXPECT_EQ(amax_from_histogram(histogram_of(std::vector<float>{1.7f}, 8), method), 1.7f) << name;
    EXPECT_EQ(error_of([&] { amax_from_histogram(Histogram(), method); }),
              "[calibration] the histogram is empty. Add samples first");
  }
  const Histogram some = histogram_of(std::vector<float>{1});
  EXPECT_EQ(error_of([&] { amax_from_histogram(some, {}, 9); }),
            "[calibration] bits is 9, expected 2 to 8");
  EXPECT_EQ(error_of([&] {
              amax_from_histogram(some, {Kind::kPercentile, 0});
            }),
            "[calibration] percentile is 0, expected (0, 100]");
}

TEST(Calibration, MaxIsExact) {
  const auto values = activations(5000, 6);
  const float max = std::fabs(*std::max_element(
      values.begin(), values.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
  EXPECT_EQ(amax_from_histogram(histogram_of(values), {Kind::kMax}), max);
}

// KL divergence of one threshold, bin by bin.
double direct_divergence(const std::vector<double>& bins, int stop, int levels) {
  std::vector<double> p(bins.begin(), bins.begin() + stop), q(stop, 0.0);
  int last = stop - 1;
  while (last > 0 && p[last] == 0) --last;
  p[last] += std::accumulate(bins.begin() + stop, bins.end(), 0.0);
  for (int level = 0; level < levels; ++level) {
    double sum = 0, occupied = 0;
    const auto in_level = [&](int i) { return static_cast<int64_t>(i) * levels / stop == level; };
    for (int i = 0; i < stop; ++i) {
      if (!in_level(i) || bins[i] == 0) continue;
      sum += bins[i];
      ++occupied;
    }
    for (int i = 0; i < stop; ++i) {
      if (in_level(i) && bins[i] != 0) q[i] = sum / occupied;
    }
  }
  const double p_sum = std::accumulate(p.begin(), p.end(), 0.0),
               q_sum = std::accumulate(q.begin(), q.end(), 0.0);
  double kl = 0;
  for (int i = 0; i < stop; ++i) {
    if (p[i] == 0) continue;
    if (q[i] == 0) return std::numeric_limits<double>::infinity();
    kl += p[i] / p_sum * std::log(p[i] / p_sum * q_sum / q[i]);
  }
  return kl;
}

TEST(Entropy, FindsTheLeastDivergence) {
  for (const int bits : {7, 4}) {
    for (uint32_t seed = 0; seed < 3; ++seed) {
      const Histogram histogram = histogram_of(activations(20000, seed), 512);
      const float amax = amax_from_histogram(histogram, {Kind::kEntropy}, bits);
      std::vector<double> bins(histogram.counts().begin(), histogram.counts().end());
      bins.resize(static_cast<size_t>(histogram.max() / histogram.bin_width()) + 1);
      bins[0] = bins[1];
      const int levels = 1 << (bits - 1);
      double least = std::numeric_limits<double>::infinity();
      for (int stop = levels; stop <= static_cast<int>(bins.size()); ++stop) {
        least = std::min(least, direct_divergence(bins, stop, levels));
      }
      const int chosen = static_cast<int>(std::ceil(amax / histogram.bin_width()));
      EXPECT_NEAR(direct_divergence(bins, chosen, levels), least, 1e-9);
    }
  }
}

TEST(Entropy, IgnoresZeros) {
  std::vector<float> values = activations(20000, 8);
  const float amax = amax_from_histogram(histogram_of(values), {Kind::kEntropy});
  values.resize(200000, 0.0f);
  EXPECT_EQ(amax_from_histogram(histogram_of(values), {Kind::kEntropy}), amax);
}

TEST(Entropy, CutsOutliersOff) {
  std::vector<float> values = activations(100000, 8);
  values.push_back(400);
  const float amax = amax_from_histogram(histogram_of(values), {Kind::kEntropy});
  EXPECT_GT(amax, 2);
  EXPECT_LT(amax, 100);
}

double quantization_error(std::span<const float> values, float amax, int bits) {
  const double qmax = (1 << (bits - 1)) - 1, scale = amax / qmax;
  double error = 0;
  for (const float value : values) {
    const double back = std::clamp(std::nearbyint(value / scale), -qmax, qmax) * scale;
    error += (value - back) * (value - back);
  }
  return error;
}

TEST(Mse, ComesCloseToTheLeastErrorOfTheValues) {
  const auto values = activations(20000, 9);
  const Histogram histogram = histogram_of(values);
  for (const int bits : {4, 6, 8}) {
    double least = std::numeric_limits<double>::infinity();
    for (int i = 1; i <= 400; ++i) {
      least = std::min(
          least, quantization_error(values, histogram.max() * static_cast<float>(i) / 400, bits));
    }
    const float amax = amax_from_histogram(histogram, {Kind::kMse}, bits);
    EXPECT_LT(quantization_error(values, amax, bits), 1.02 * least) << bits;
  }
  // Fewer levels pay for a wide range in rounding.
  EXPECT_LT(amax_from_histogram(histogram, {Kind::kMse}, 4),
            amax_from_histogram(histogram, {Kind::kMse}, 8));
}

TEST(CalibrationMethod, ParsesWhatItPrints) {
  for (const char* name : {"max", "percentile:99.9", "percentile:100", "entropy", "mse"}) {
    EXPECT_EQ(CalibrationMethod::parse(name).to_string(), name);
  }
  EXPECT_EQ(CalibrationMethod::parse("percentile").to_string(), "percentile:99.99");
  EXPECT_EQ(CalibrationMethod::parse("percentile:99.9").percentile, 99.9);
}

TEST(CalibrationMethod, ListsTheChoices) {
  for (const char* bad : {"", "median", "percentile:", "percentile:0", "percentile:101",
                          "percentile:9x", "percentile:nan", "percentile:-5", "Max"}) {
    EXPECT_EQ(error_of([&] { CalibrationMethod::parse(bad); }),
              "[calibration] expected max, percentile, percentile:P with P in (0, 100], entropy or "
              "mse, found \"" +
                  std::string(bad) + "\"");
  }
}

}  // namespace
}  // namespace twofour
