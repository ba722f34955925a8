#include "twofour/metrics/qpp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/io/file.h"

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

// Made by scripts/golden/performance.py.
TEST(Qpp, AgreesWithSciPyAndScikitLearnOnRandomLists) {
  const auto golden = nlohmann::json::parse(
      read_file(std::filesystem::path(TWOFOUR_SOURCE_DIR) / "tests/golden/performance.json"));
  ASSERT_EQ(golden["cases"].size(), 5);
  for (const auto& c : golden["cases"]) {
    const Values predicted = c["predicted"], actual = c["actual"];
    EXPECT_NEAR(pearson(predicted, actual), c["pearson"], 1e-12);
    EXPECT_NEAR(spearman(predicted, actual), c["spearman"], 1e-12);
    EXPECT_NEAR(kendall(predicted, actual), c["kendall"], 1e-12);
    EXPECT_NEAR(smare(predicted, actual), c["smare"], 1e-12);
    if (c["ordered_ndcg"].is_null()) continue;
    EXPECT_NEAR(ordered_ndcg(predicted, actual), c["ordered_ndcg"], 1e-12);
  }
}

TEST(Qpp, OrderedNdcgByHand) {
  const double log3 = std::log2(3.0);
  EXPECT_EQ(ordered_ndcg(Values{3, 2, 1}, Values{.9, .5, 0}), 1);
  EXPECT_DOUBLE_EQ(ordered_ndcg(Values{1, 2}, Values{1, .5}), (.5 + 1 / log3) / (1 + .5 / log3));
  EXPECT_DOUBLE_EQ(ordered_ndcg(Values{1, 1}, Values{.5, 1}), (.5 + 1 / log3) / (1 + .5 / log3));
  EXPECT_TRUE(std::isnan(ordered_ndcg(Values{1, 2}, Values{0, 0})));
}

TEST(Qpp, DeliveryGoesWhereItIsPredictedToHelp) {
  const Values cheap{.2, .9, .4, .8}, costly{.7, .9, .5, .7};
  const Delivery right = delivery_gain(Values{0, 3, 1, 2}, cheap, costly, .5);
  EXPECT_DOUBLE_EQ(right.predicted, (.7 + .9 + .5 + .8) / 4);
  EXPECT_DOUBLE_EQ(right.best, right.predicted);
  EXPECT_DOUBLE_EQ(right.fixed, ((.2 + .9 + .4 + .8) + (.7 + .9 + .5 + .7)) / 8);
  const Delivery wrong = delivery_gain(Values{3, 0, 2, 1}, cheap, costly, .5);
  EXPECT_DOUBLE_EQ(wrong.predicted, (.2 + .9 + .4 + .7) / 4);
  const Delivery none = delivery_gain(Values{0, 3, 1, 2}, cheap, costly, .2);
  EXPECT_DOUBLE_EQ(none.predicted, none.fixed);
  const Delivery all = delivery_gain(Values{0, 3, 1, 2}, cheap, costly, 1);
  EXPECT_DOUBLE_EQ(all.predicted, all.best);
  EXPECT_THAT([&] { delivery_gain(cheap, cheap, costly, 1.5); },
              ThrowsMessage<Error>(HasSubstr("share is 1.5")));
  EXPECT_THAT([&] { delivery_gain(cheap, cheap, Values{1}, .5); },
              ThrowsMessage<Error>(HasSubstr("[delivery_gain] 4 predicted but 1 actual")));
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
