#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "twofour/base/error.h"
#include "twofour/metrics/ranking.h"

namespace twofour {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// `better` of 100 moves that share of wrong decisions to the right side.
std::vector<QueryStats> system_of(int num_queries, uint32_t seed, int better = 0) {
  std::mt19937 random(seed);
  std::vector<QueryStats> out;
  for (int i = 0; i < num_queries; ++i) {
    QueryStats q{.query_id = fmt::format("q{}", i)};
    q.discordant = 20 + random() % 100;
    q.concordant = 500 + random() % 100 + q.discordant * better / 100;
    q.discordant -= q.discordant * better / 100;
    q.ties = random() % 3;
    q.pairs = q.classified = 50;
    q.correct = 25 + random() % 20;
    q.ndcg = static_cast<double>(random() % 1000) / 1000;
    q.ndcg_defined = random() % 10 != 0;
    q.relevant = 5 + random() % 5;
    q.retrieved = 5 + random() % 5;
    q.relevant_retrieved = random() % 5;
    out.push_back(q);
  }
  return out;
}

bool same(const Interval& x, const Interval& y) {
  return x.difference == y.difference && x.low == y.low && x.high == y.high &&
         x.relative == y.relative && x.relative_low == y.relative_low &&
         x.relative_high == y.relative_high;
}

TEST(Bootstrap, ASystemEqualsItself) {
  const auto a = system_of(50, 1);
  const auto intervals = paired_bootstrap(a, a, 200);
  EXPECT_EQ(intervals.size(), 6u);
  for (const auto& [name, interval] : intervals) EXPECT_TRUE(same(interval, Interval{})) << name;
}

TEST(Bootstrap, DifferencesAreThoseOfTheAggregates) {
  const auto a = system_of(50, 1), b = system_of(50, 2);
  const Metrics of_a = aggregate(a), of_b = aggregate(b);
  for (const auto& [name, interval] : paired_bootstrap(a, b, 500)) {
    EXPECT_DOUBLE_EQ(interval.difference, of_b.at(name) - of_a.at(name)) << name;
    EXPECT_DOUBLE_EQ(interval.relative, (of_b.at(name) - of_a.at(name)) / of_a.at(name)) << name;
    EXPECT_LT(interval.low, interval.difference) << name;
    EXPECT_GT(interval.high, interval.difference) << name;
    EXPECT_LT(interval.relative_low, interval.relative_high) << name;
  }
}

// What was never wrong and now is: no gate may take that for "no difference".
TEST(Bootstrap, FallingFromInfinityIsALoss) {
  auto a = system_of(50, 1), b = a;
  for (QueryStats& query : a) query.discordant = 0;
  for (QueryStats& query : b) query.discordant = 0;
  b[7].discordant = 1;
  const Interval pnr = paired_bootstrap(a, b, 500).at("pnr");
  EXPECT_EQ(pnr.relative, -1);
  EXPECT_EQ(pnr.relative_low, -1);
  EXPECT_EQ(pnr.low, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(paired_bootstrap(b, a, 500).at("pnr").relative_low, 0);
}

TEST(Bootstrap, OrderOfQueriesDoesNotMatter) {
  const auto a = system_of(40, 1), b = system_of(40, 2);
  auto shuffled_a = a, shuffled_b = b;
  std::reverse(shuffled_a.begin(), shuffled_a.end());
  std::rotate(shuffled_b.begin(), shuffled_b.begin() + 7, shuffled_b.end());
  const auto straight = paired_bootstrap(a, b, 300);
  for (const auto& [name, interval] : paired_bootstrap(shuffled_a, shuffled_b, 300)) {
    EXPECT_TRUE(same(interval, straight.at(name))) << name;
  }
}

TEST(Bootstrap, TheSeedDecides) {
  const auto a = system_of(40, 1), b = system_of(40, 2);
  const auto first = paired_bootstrap(a, b, 300, .95, 17);
  EXPECT_TRUE(same(first.at("pnr"), paired_bootstrap(a, b, 300, .95, 17).at("pnr")));
  EXPECT_FALSE(same(first.at("pnr"), paired_bootstrap(a, b, 300, .95, 18).at("pnr")));
}

// Three queries of known draws: the generator must be the same on every machine.
TEST(Bootstrap, DrawsAreFixed) {
  std::vector<QueryStats> a(3), b(3);
  for (int i = 0; i < 3; ++i) {
    a[i] = b[i] = {.query_id = std::to_string(i), .pairs = 10, .classified = 10};
    b[i].correct = i == 0 ? 1 : i == 1 ? 3 : 9;
  }
  // SplitMix64 from seed 4, modulo 3, draws queries 1, 1, 0.
  const Interval one = paired_bootstrap(a, b, 1, .95, 4).at("accuracy");
  EXPECT_EQ(one.low, one.high);
  EXPECT_DOUBLE_EQ(one.low, (3 + 3 + 1) / 30.0);
}

// The mean's bootstrap interval is the normal one when there are many queries.
TEST(Bootstrap, IntervalOfAMeanIsNormal) {
  auto a = system_of(2000, 1), b = system_of(2000, 2);
  double sum = 0, squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(b[i].correct - a[i].correct) / 50;
    sum += d;
    squares += d * d;
  }
  const double n = static_cast<double>(a.size()), mean = sum / n;
  const double error = std::sqrt((squares / n - mean * mean) / n);
  for (const auto& [confidence, z] : {std::pair{.95, 1.960}, std::pair{.80, 1.2816}}) {
    const Interval interval = paired_bootstrap(a, b, 4000, confidence).at("accuracy");
    EXPECT_NEAR(interval.low, mean - z * error, .08 * error);
    EXPECT_NEAR(interval.high, mean + z * error, .08 * error);
  }
}

TEST(Bootstrap, PairingShrinksTheInterval) {
  const auto a = system_of(200, 1), near = system_of(200, 1, 10), far = system_of(200, 2, 10);
  const Interval paired = paired_bootstrap(a, near, 500).at("pnr");
  const Interval unrelated = paired_bootstrap(a, far, 500).at("pnr");
  EXPECT_GT(paired.low, 0);
  EXPECT_LT(paired.high - paired.low, (unrelated.high - unrelated.low) / 2);
}

TEST(Bootstrap, InfinitePnrStaysOrdered) {
  auto a = system_of(5, 1), b = a;
  for (QueryStats& q : b) q.discordant = 0;
  const Interval better = paired_bootstrap(a, b, 50).at("pnr");
  EXPECT_EQ(better.low, INFINITY);
  EXPECT_EQ(paired_bootstrap(b, b, 50).at("pnr").difference, 0);
}

TEST(Bootstrap, LeavesOutWhatOneSystemLacks) {
  const auto a = system_of(5, 1);
  auto b = a;
  for (QueryStats& q : b) q.classified = q.correct = 0;
  EXPECT_FALSE(paired_bootstrap(a, b, 50).contains("accuracy"));
  EXPECT_TRUE(paired_bootstrap(a, b, 50).contains("ndcg@10"));
}

TEST(Bootstrap, RefusesBadInput) {
  const auto a = system_of(5, 1);
  const auto more = system_of(6, 1);
  auto twice = a, renamed = a;
  twice[1].query_id = "q0";
  renamed[2].query_id = "x";
  EXPECT_THAT([&] { paired_bootstrap(a, more); },
              ThrowsMessage<Error>(HasSubstr("'q5' stands in system b only (5 and 6 queries)")));
  EXPECT_THAT([&] { paired_bootstrap(more, a); },
              ThrowsMessage<Error>(HasSubstr("'q5' stands in system a only")));
  EXPECT_THAT([&] { paired_bootstrap(a, renamed); },
              ThrowsMessage<Error>(HasSubstr("'q2' stands in system a only")));
  EXPECT_THAT([&] { paired_bootstrap(renamed, a); },
              ThrowsMessage<Error>(HasSubstr("'q2' stands in system b only")));
  EXPECT_THAT([&] { paired_bootstrap(a, twice); },
              ThrowsMessage<Error>(HasSubstr("'q0' stands twice in system b")));
  EXPECT_THAT([&] { paired_bootstrap({}, {}); }, ThrowsMessage<Error>(HasSubstr("no queries")));
  EXPECT_THAT([&] { paired_bootstrap(a, a, 0); },
              ThrowsMessage<Error>(HasSubstr("resamples is 0")));
  EXPECT_THAT([&] { paired_bootstrap(a, a, 9, 1.0); },
              ThrowsMessage<Error>(HasSubstr("confidence is 1")));
}

}  // namespace
}  // namespace twofour
