#include "twofour/metrics/qpp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "twofour/base/error.h"

namespace twofour {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Values = std::vector<double>;

// Examples of SciPy's manual.
TEST(Qpp, AgreesWithSciPy) {
  EXPECT_NEAR(pearson(Values{1, 2, 3, 4, 5, 6, 7}, Values{10, 9, 2.5, 6, 4, 3, 2}),
              -0.828503883588428, 1e-12);
  EXPECT_NEAR(spearman(Values{1, 2, 3, 4, 5}, Values{5, 6, 7, 8, 7}), 0.8207826816681233, 1e-12);
  EXPECT_NEAR(kendall(Values{12, 2, 1, 12, 2}, Values{1, 4, 7, 1, 0}), -0.47140452079103173, 1e-12);
}

TEST(Qpp, SmareByHand) {
  EXPECT_EQ(smare(Values{1, 2, 3}, Values{.1, .2, .9}), 0);
  EXPECT_DOUBLE_EQ(smare(Values{1, 2, 3}, Values{3, 2, 1}), 4 / 9.0);
  EXPECT_DOUBLE_EQ(smare(Values{5, 5}, Values{1, 2}), (.5 + .5) / 4);
}

TEST(Qpp, KendallAsBruteForceDoes) {
  std::mt19937 random(3);
  Values x, y;
  for (int i = 0; i < 200; ++i) {
    x.push_back(random() % 30);
    y.push_back(random() % 12);
  }
  double agreement = 0, untied_x = 0, untied_y = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const double dx = (x[i] > x[j]) - (x[i] < x[j]), dy = (y[i] > y[j]) - (y[i] < y[j]);
      agreement += dx * dy;
      untied_x += dx != 0;
      untied_y += dy != 0;
    }
  }
  EXPECT_DOUBLE_EQ(kendall(x, y), agreement / (std::sqrt(untied_x) * std::sqrt(untied_y)));
}

TEST(Qpp, CorrelationWithAConstantIsUndefined) {
  EXPECT_TRUE(std::isnan(pearson(Values{1, 1}, Values{1, 2})));
  EXPECT_TRUE(std::isnan(spearman(Values{1, 1}, Values{1, 2})));
  EXPECT_TRUE(std::isnan(kendall(Values{1, 1}, Values{1, 2})));
}

TEST(Qpp, RefusesBadInput) {
  EXPECT_THAT(
      [] {
        pearson(Values{1, 2}, Values{1});
      },
      ThrowsMessage<Error>(HasSubstr("2 predicted but 1 actual values")));
  EXPECT_THAT([] { kendall(Values{1}, Values{1}); },
              ThrowsMessage<Error>(HasSubstr("[kendall] 1 values: at least 2")));
  EXPECT_THAT(
      [] {
        smare(Values{1, NAN}, Values{1, 2});
      },
      ThrowsMessage<Error>(HasSubstr("a value is not finite")));
  EXPECT_THAT(
      [] {
        spearman(Values{1, 2}, Values{1, INFINITY});
      },
      ThrowsMessage<Error>(HasSubstr("a value is not finite")));
}

}  // namespace
}  // namespace twofour
