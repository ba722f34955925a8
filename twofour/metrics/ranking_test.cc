#include "twofour/metrics/ranking.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/metrics/trec.h"

namespace twofour {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const std::vector<std::string> kOneQuery = {"q"};

QueryStats stats_of(std::vector<ScoredPair> pairs, const MetricOptions& options = {}) {
  return query_stats(pairs, kOneQuery, options).at(0);
}

// Scores and labels are coarse, so that ties of both kinds occur.
std::vector<ScoredPair> random_pairs(int num_queries, int num_pairs) {
  std::mt19937 random(5);
  std::vector<ScoredPair> pairs;
  for (int i = 0; i < num_pairs; ++i) {
    pairs.push_back({static_cast<int32_t>(random() % num_queries), static_cast<float>(random() % 3),
                     static_cast<float>(random() % 20) / 4, static_cast<int32_t>(random() % 3)});
  }
  return pairs;
}

std::vector<std::string> ids_of(int count) {
  std::vector<std::string> ids;
  for (int i = 0; i < count; ++i) ids.push_back(fmt::format("q{}", i));
  return ids;
}

TEST(Ranking, CountsPairsAsBruteForceDoes) {
  const auto pairs = random_pairs(7, 400);
  QueryStats expected;
  for (const ScoredPair& x : pairs) {
    for (const ScoredPair& y : pairs) {
      if (x.query != y.query || x.label <= y.label) continue;
      expected.concordant += x.score > y.score;
      expected.discordant += x.score < y.score;
      expected.ties += x.score == y.score;
    }
  }
  const auto stats = query_stats(pairs, ids_of(7));
  ASSERT_EQ(stats.size(), 7u);
  QueryStats sums;
  for (const QueryStats& query : stats) {
    sums.concordant += query.concordant;
    sums.discordant += query.discordant;
    sums.ties += query.ties;
  }
  EXPECT_EQ(sums, expected);
  const Metrics metrics = aggregate(stats);
  EXPECT_EQ(metrics.at("pnr"), static_cast<double>(expected.concordant) / expected.discordant);
  EXPECT_EQ(metrics.at("pnr_ties"), expected.ties);
}

// Made by scripts/golden/performance.py.
TEST(Ranking, AgreesWithSciPyAndScikitLearnOnRandomLists) {
  const auto golden = nlohmann::json::parse(
      read_file(std::filesystem::path(TWOFOUR_SOURCE_DIR) / "tests/golden/performance.json"));
  ASSERT_EQ(golden["rankings"].size(), 3);
  for (const auto& c : golden["rankings"]) {
    std::vector<ScoredPair> pairs;
    for (size_t i = 0; i < c["query"].size(); ++i)
      pairs.push_back({c["query"][i], c["label"][i], c["score"][i], c["predicted"][i]});
    const Metrics classes = aggregate(query_stats(pairs, ids_of(20)));
    EXPECT_DOUBLE_EQ(classes.at("pnr"), c["pnr"]);
    EXPECT_DOUBLE_EQ(classes.at("accuracy"), c["accuracy"]);
    EXPECT_DOUBLE_EQ(classes.at("f1@345"), c["f1"]);
    for (ScoredPair& pair : pairs) pair.predicted = -1;
    const MetricOptions options = {.score_threshold = c["threshold"]};
    const Metrics scores = aggregate(query_stats(pairs, ids_of(20), options), options);
    EXPECT_DOUBLE_EQ(scores.at("accuracy"), c["threshold_accuracy"]);
    EXPECT_DOUBLE_EQ(scores.at("f1@345"), c["threshold_f1"]);
  }
}

TEST(Ranking, NdcgByHand) {
  // Ranked labels 0, 2, 1.
  const std::vector<ScoredPair> pairs = {{0, 2, .5f}, {0, 0, .9f}, {0, 1, .1f}};
  const double log3 = std::log2(3.0);
  EXPECT_DOUBLE_EQ(stats_of(pairs).ndcg, (3 / log3 + 1 / 2.0) / (3 + 1 / log3));
  EXPECT_DOUBLE_EQ(stats_of(pairs, {.ndcg_k = 2}).ndcg, (3 / log3) / (3 + 1 / log3));
  EXPECT_DOUBLE_EQ(stats_of(pairs, {.gain = Gain::kLinear}).ndcg,
                   (2 / log3 + 1 / 2.0) / (2 + 1 / log3));
}

TEST(Ranking, TiesStandInInputOrder) {
  EXPECT_EQ(stats_of({{0, 1, 1}, {0, 0, 1}}, {.ndcg_k = 1}).ndcg, 1);
  EXPECT_EQ(stats_of({{0, 0, 1}, {0, 1, 1}}, {.ndcg_k = 1}).ndcg, 0);
}

TEST(Ranking, QueriesWithoutPositiveLabelLeaveNdcgAlone) {
  const std::vector<ScoredPair> pairs = {{0, 0, 1}, {0, -1, 2}, {1, 1, 1}, {1, 0, 0}};
  const auto stats = query_stats(pairs, ids_of(2));
  EXPECT_FALSE(stats[0].ndcg_defined);
  EXPECT_EQ(aggregate(stats).at("ndcg@10"), 1);
}

TEST(Ranking, DecisionsAmongTheFirstK) {
  // By score: label 2 called 2, label 0 called 2, label 2 called 1, label 2 called 2.
  const std::vector<ScoredPair> pairs = {{0, 2, 1, 2}, {0, 2, 4, 2}, {0, 0, 3, 2}, {0, 2, 2, 1}};
  const Metrics all = aggregate(query_stats(pairs, kOneQuery));
  EXPECT_DOUBLE_EQ(all.at("recall@345"), 2 / 3.0);
  EXPECT_DOUBLE_EQ(all.at("f1@345"), 2 * 2 / (3.0 + 3.0));
  EXPECT_DOUBLE_EQ(all.at("accuracy"), .5);

  const MetricOptions first_two = {.recall_k = 2};
  const Metrics cut = aggregate(query_stats(pairs, kOneQuery, first_two), first_two);
  EXPECT_DOUBLE_EQ(cut.at("recall@2"), 1 / 3.0);
  EXPECT_DOUBLE_EQ(cut.at("f1@2"), 2 * 1 / (2.0 + 3.0));
}

TEST(Ranking, WithoutClassesTheThresholdDecides) {
  const std::vector<ScoredPair> pairs = {{0, 2, 3}, {0, 0, 2}, {0, 2, 1}};
  const Metrics all = aggregate(query_stats(pairs, kOneQuery));
  EXPECT_EQ(all.at("recall@345"), 1);
  EXPECT_FALSE(all.contains("accuracy"));
  const MetricOptions options = {.score_threshold = 2};
  const Metrics some = aggregate(query_stats(pairs, kOneQuery, options), options);
  EXPECT_EQ(some.at("recall@345"), .5);
  EXPECT_EQ(some.at("f1@345"), .5);
}

TEST(Ranking, AThresholdMakesDecisionsThatCanBeRight) {
  const std::vector<ScoredPair> pairs = {{0, 2, 3}, {0, 0, 2}, {0, 2, 1}, {0, 1, 1}};
  const MetricOptions options = {.score_threshold = 2};
  const Metrics metrics = aggregate(query_stats(pairs, kOneQuery, options), options);
  EXPECT_EQ(metrics.at("accuracy"), .5);  // of labels 2, 0, 2, 1 it calls the first two relevant
}

TEST(Ranking, PairsThatWereNotFoundAreNeverRetrieved) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const QueryStats stats = stats_of({{0, 2, kNever}, {0, 2, 1}, {0, 0, 2}});
  EXPECT_EQ(stats.retrieved, 2);
  EXPECT_EQ(stats.relevant_retrieved, 1);
  EXPECT_EQ(stats.relevant, 2);
  const double log3 = std::log2(3.0);
  EXPECT_DOUBLE_EQ(stats.ndcg, (3 / log3) / (3 + 3 / log3));
}

TEST(Ranking, AThresholdBelongsToTheSystem) {
  EXPECT_TRUE(comparable({.score_threshold = 1}, {.score_threshold = 2}));
  EXPECT_FALSE(comparable({.recall_k = 10}, {.recall_k = 20}));
}

TEST(Ranking, BestThresholdIsTheBestOfAll) {
  auto pairs = random_pairs(7, 300);
  for (ScoredPair& pair : pairs) pair.predicted = -1;
  for (const int64_t k : {5, 345}) {
    for (const Criterion criterion : {Criterion::kAccuracy, Criterion::kF1}) {
      const std::string name =
          criterion == Criterion::kF1 ? fmt::format("f1@{}", k) : std::string("accuracy");
      const auto value = [&](float threshold) {
        const MetricOptions options = {.recall_k = k, .score_threshold = threshold};
        const Metrics metrics = aggregate(query_stats(pairs, ids_of(7), options), options);
        return metrics.at(name);
      };
      const float best = best_threshold(pairs, criterion, {.recall_k = k});
      for (const ScoredPair& pair : pairs) {
        EXPECT_GE(value(best), value(pair.score)) << name << " at " << pair.score;
        if (pair.score <= best) continue;
        EXPECT_GT(value(best), value(pair.score)) << name;
      }
    }
  }
  EXPECT_THAT([] { best_threshold({}, Criterion::kF1); },
              ThrowsMessage<Error>(HasSubstr("no pairs to choose a threshold on")));
}

TEST(Ranking, NoThresholdAcceptsWhatWasNotFound) {
  constexpr float kNotFound = -std::numeric_limits<float>::infinity();
  const std::vector<ScoredPair> pairs = {
      {0, 2, kNotFound}, {0, 2, kNotFound}, {0, 0, 1}, {0, 2, 0.5F}};
  EXPECT_EQ(best_threshold(pairs, Criterion::kF1), 0.5F);
  EXPECT_THAT([&] { best_threshold(std::span(pairs).first(2), Criterion::kF1); },
              ThrowsMessage<Error>(HasSubstr("no pairs to choose a threshold on")));
  EXPECT_THAT(
      [] {
        best_threshold(std::vector<ScoredPair>{{0, 2, NAN}}, Criterion::kF1);
      },
      ThrowsMessage<Error>(HasSubstr("a score is not a number")));
}

TEST(Ranking, WhatIsNotDefinedIsAbsent) {
  const std::vector<ScoredPair> pairs = {{0, 0, 3}, {0, 0, 2}};
  const MetricOptions options = {.score_threshold = 9};
  EXPECT_EQ(aggregate(query_stats(pairs, kOneQuery, options), options),
            (Metrics{{"accuracy", 1}, {"pnr_ties", 0}}));
  EXPECT_TRUE(std::isinf(
      aggregate(query_stats(std::vector<ScoredPair>{{0, 1, 3}, {0, 0, 2}}, kOneQuery)).at("pnr")));
}

TEST(Ranking, QueriesMayInterleaveAndBeEmpty) {
  const std::vector<ScoredPair> pairs = {{2, 1, 2}, {0, 1, 2}, {2, 0, 1}, {0, 0, 3}};
  const auto stats = query_stats(pairs, ids_of(4));
  ASSERT_EQ(stats.size(), 2u);
  EXPECT_EQ(stats[0].query_id, "q0");
  EXPECT_EQ(stats[0].discordant, 1);
  EXPECT_EQ(stats[1].query_id, "q2");
  EXPECT_EQ(stats[1].concordant, 1);
}

TEST(Ranking, TheLargestWholeLabelIsRelevantWhereNoneIs2) {
  const auto relevant = [](std::vector<float> labels) {
    std::vector<Pair> pairs;
    for (const float label : labels) pairs.push_back({0, 0, label});
    return default_relevant_label(pairs);
  };
  EXPECT_EQ(relevant({0, 1, 2}), 2);
  EXPECT_EQ(relevant({3, 0}), 2);
  EXPECT_EQ(relevant({0, 1}), 1);
  EXPECT_EQ(relevant({0.97f, 0.5f, 0}), 2);
  EXPECT_EQ(relevant({0, 0.5f, 1}), 2);
  EXPECT_EQ(relevant({0, -1}), 2);
  EXPECT_EQ(relevant({}), 2);
}

TEST(Ranking, RefusesBadInput) {
  EXPECT_THAT(
      [] {
        stats_of({{1, 0, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("query 1 but there are 1 queries")));
  EXPECT_THAT(
      [] {
        stats_of({{0, 0, NAN}});
      },
      ThrowsMessage<Error>(HasSubstr("a score of query 'q' is not a number")));
  EXPECT_THAT(
      [] {
        stats_of({{0, NAN, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("a label of query 'q' is not a number")));
  EXPECT_THAT(
      [] {
        stats_of({{0, 1e30F, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("its gain 2^label - 1 overflows")));
  EXPECT_THAT([] { stats_of({}, {.ndcg_k = 0}); }, ThrowsMessage<Error>(HasSubstr("ndcg_k is 0")));
  EXPECT_THAT([] { stats_of({}, {.recall_k = -1}); },
              ThrowsMessage<Error>(HasSubstr("recall_k is -1")));
}

// trec_eval judges a run against documents that the run need not hold: those follow at the end
// here. Retrieved documents count as called relevant.
class TrecEval : public testing::Test {
 protected:
  static std::filesystem::path file(const std::string& name) {
    return std::filesystem::path(TWOFOUR_SOURCE_DIR) / "tests/data/trec-eval" / (name + ".zst");
  }

  struct Judgment {
    std::string query, document;
    float label = 0;
  };
  static std::vector<Judgment> read_qrels(const std::string& name) {
    std::istringstream lines(read_file(file(name)));
    std::vector<Judgment> out;
    std::string iteration;
    for (Judgment j; lines >> j.query >> iteration >> j.document >> j.label;) out.push_back(j);
    return out;
  }

  // query -> measure -> value
  using Expected = std::map<std::string, std::map<std::string, double>>;
  static Expected read_expected(const std::string& name) {
    std::istringstream lines(read_file(file(name)));
    Expected out;
    std::string measure, query, value;
    while (lines >> measure >> query >> value) {
      const bool wanted = measure.rfind("ndcg_cut_", 0) == 0 || measure.rfind("recall_", 0) == 0;
      if (wanted) out[query][measure] = std::stod(value);
    }
    return out;
  }

  static std::vector<ScoredPair> pairs_of_query(const std::string& query, const TrecRun& run,
                                                const std::vector<Judgment>& judgments) {
    std::map<std::string, float> labels;
    for (const Judgment& j : judgments) {
      if (j.query == query) labels[j.document] = j.label;
    }
    std::vector<ScoredPair> pairs;
    for (const TrecRow& row : run.rows) {
      if (row.query != query) continue;
      pairs.push_back({0, labels[row.document], static_cast<float>(row.score), 4});
      labels.erase(row.document);
    }
    for (const auto& [document, label] : labels) pairs.push_back({0, label, -1e30f, 0});
    return pairs;
  }

  static void compare(const std::string& qrels, const std::string& expected_name, float relevant) {
    TrecRun run = read_trec_run(file("results.test"));
    const auto judgments = read_qrels(qrels);
    // Its order of ties: document ids, falling.
    std::sort(run.rows.begin(), run.rows.end(),
              [](const auto& a, const auto& b) { return a.document > b.document; });
    for (const auto& [query, measures] : read_expected(expected_name)) {
      if (query == "all") continue;
      const auto pairs = pairs_of_query(query, run, judgments);
      for (const int k : {5, 10, 20, 100, 200}) {
        const QueryStats stats = stats_of(
            pairs, {.ndcg_k = k, .recall_k = k, .relevant_label = relevant, .gain = Gain::kLinear});
        SCOPED_TRACE(fmt::format("{} at {}", query, k));
        EXPECT_NEAR(stats.ndcg, measures.at(fmt::format("ndcg_cut_{}", k)), 5e-5);
        const double recall = static_cast<double>(stats.relevant_retrieved) / stats.relevant;
        EXPECT_NEAR(recall, measures.at(fmt::format("recall_{}", k)), 5e-5);
        EXPECT_EQ(stats.retrieved, k);
      }
    }
  }

  // The same through a run over a collection and a dataset of judged pairs.
  static void compare_collection(int k) {
    TrecRun run = read_trec_run(file("results.test"));
    std::sort(run.rows.begin(), run.rows.end(),
              [](const auto& a, const auto& b) { return a.document > b.document; });
    const Dataset data = dataset_of(read_qrels("qrels.test"));
    const MetricOptions options = {.recall_k = k, .relevant_label = 1};
    const auto expected = read_expected("out.test.aq");
    int compared = 0;
    for (const QueryStats& stats :
         query_stats(pairs_of_collection_run(run, data), data.query_ids, options)) {
      const auto measures = expected.find(stats.query_id);
      if (measures == expected.end()) continue;  // judged, but not in the run
      const double recall = static_cast<double>(stats.relevant_retrieved) / stats.relevant;
      EXPECT_NEAR(recall, measures->second.at(fmt::format("recall_{}", k)), 5e-5);
      ++compared;
    }
    EXPECT_EQ(compared, static_cast<int>(expected.size()) - 1);  // without "all"
  }

  static Dataset dataset_of(const std::vector<Judgment>& judgments) {
    std::string text = "query\tdocument\tlabel\tquery_id\tdocument_id\n";
    for (const auto& [query, document, label] : judgments)
      text += fmt::format("{0}\t{1}\t{2}\t{0}\t{1}\n", query, document, label);
    return parse_dataset(text, "qrels.test");
  }
};

TEST_F(TrecEval, AgreesOnRunsOverACollection) {
  for (const int k : {5, 10, 20, 100, 200}) compare_collection(k);
}

TEST_F(TrecEval, AgreesOnBinaryLabels) { compare("qrels.test", "out.test.aq", 1); }
TEST_F(TrecEval, AgreesOnGradedLabels) { compare("qrels.rel_level", "out.test.aql", 2); }

}  // namespace
}  // namespace twofour
