#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "twofour/cli/testing/run_command.h"
#include "twofour/metrics/scores_file.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// 40 queries of 10 pairs; `wrong` of each ten pairs are predicted wrongly.
QueryScores scores(int64_t wrong) {
  QueryScores scores;
  scores.system = "test";
  for (int q = 0; q < 40; ++q) {
    QueryStats stats;
    stats.query_id = "q" + std::to_string(q);
    stats.pairs = stats.classified = 10;
    stats.correct = 10 - wrong - q % 2;
    stats.concordant = 20 - wrong;
    stats.discordant = 4 + wrong;
    stats.ndcg = 0.8 - 0.01 * static_cast<double>(wrong) - 0.001 * (q % 5);
    stats.ndcg_defined = true;
    scores.queries.push_back(stats);
  }
  return scores;
}

class Compare : public ::testing::Test {
 protected:
  Compare() {
    write_scores_file(folder_ / "a.jsonl.zst", scores(1));
    write_scores_file(folder_ / "b.jsonl", scores(2));
  }

  Outcome compare(std::vector<std::string> more) {
    std::vector<std::string> all{"compare", folder_ / "a.jsonl.zst", folder_ / "b.jsonl"};
    all.insert(all.end(), more.begin(), more.end());
    return run_command(all);
  }

  std::filesystem::path folder_ = scratch("compare");
};

TEST_F(Compare, PrintsDifferencesWithIntervals) {
  const Outcome outcome = compare({});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("95 % interval"));
  EXPECT_THAT(outcome.out, HasSubstr("-0.1000"));  // accuracy: one more of ten is wrong
}

TEST_F(Compare, NoDifferenceHasNoSign) {
  write_scores_file(folder_ / "b.jsonl", scores(1));
  const std::string same = compare({"--non-inferior", "pnr=-0%"}).out;
  EXPECT_THAT(same, HasSubstr("  0.0000  0.0000 .. 0.0000     0.0 %  0.0 % .. 0.0 %\n"));
  EXPECT_THAT(same, HasSubstr("FAIL  pnr: lower end 0.00 % <= margin 0.00 %"));
  EXPECT_THAT(same, Not(HasSubstr("+0.0")));
  EXPECT_THAT(same, Not(HasSubstr("-0.0")));
}

// Nothing is discordant for either, then for B alone.
TEST_F(Compare, AnInfinitePnrIsInf) {
  QueryScores a = scores(1), b = scores(2);
  const auto agree = [](QueryScores& scores) {
    for (QueryStats& query : scores.queries) query.concordant += std::exchange(query.discordant, 0);
  };
  agree(b);
  write_scores_file(folder_ / "b.jsonl", b);
  EXPECT_THAT(compare({}).out,
              ContainsRegex("pnr +3\\.8000 +inf +\\+inf +\\+inf \\.\\. \\+inf +- +- \\.\\. -"));
  agree(a);
  write_scores_file(folder_ / "a.jsonl.zst", a);
  EXPECT_THAT(compare({}).out,
              ContainsRegex("pnr +inf +inf +0\\.0000 +0\\.0000 \\.\\. 0\\.0000 +0\\.0 %"));
}

TEST_F(Compare, SaysWhatOnlyOneHas) {
  QueryScores b = scores(2);
  for (QueryStats& query : b.queries) query.classified = query.correct = 0;
  write_scores_file(folder_ / "b.jsonl", b);
  EXPECT_THAT(compare({}).out, HasSubstr("not compared: only A has accuracy"));
  const Outcome gate = compare({"--non-inferior", "accuracy=-1%"});
  EXPECT_EQ(gate.code, 1);
  EXPECT_THAT(gate.err,
              HasSubstr("[--non-inferior] only A has accuracy, B lacks it. A model without classes "
                        "has it with eval"));
}

TEST_F(Compare, RefusesScoresOfOtherData) {
  QueryScores b = scores(1);
  ++b.queries[3].relevant;
  write_scores_file(folder_ / "b.jsonl", b);
  const Outcome outcome = compare({"--non-inferior", "ndcg@10=-50%"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("b.jsonl] has other pairs or labels of query 'q3'"));
}

TEST_F(Compare, GateDecidesTheExitCode) {
  EXPECT_EQ(compare({"--non-inferior", "accuracy=-20%"}).code, 0);
  const Outcome failed =
      compare({"--non-inferior", "ndcg@10=-5%", "--non-inferior", "accuracy=-2%"});
  EXPECT_EQ(failed.code, 3);
  EXPECT_THAT(failed.out, HasSubstr("PASS  ndcg@10"));
  EXPECT_THAT(failed.out, HasSubstr("FAIL  accuracy"));
  EXPECT_EQ(compare({"--non-inferior", "accuracy=-0.2"}).code, 0);
  EXPECT_EQ(compare({"--non-inferior", "accuracy=-0.05"}).code, 3);
}

TEST_F(Compare, JsonHoldsMetricsAndVerdicts) {
  const Outcome outcome = compare({"--json", "--non-inferior", "accuracy=-2%"});
  EXPECT_EQ(outcome.code, 3);
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_NEAR(json["metrics"]["accuracy"]["difference"], -0.1, 1e-9);
  EXPECT_EQ(json["gates"][0]["met"], false);
}

// A metric that no candidate could lower says nothing of this one.
TEST_F(Compare, GatesOnWhatCannotFallAreNotMet) {
  const auto verdict = [&](const std::string& gate, auto change) {
    for (const auto& [file, wrong] : {std::pair{"a.jsonl.zst", 1}, std::pair{"b.jsonl", 2}}) {
      QueryScores changed = scores(wrong);
      for (QueryStats& query : changed.queries) change(query);
      write_scores_file(folder_ / file, changed);
    }
    const Outcome outcome = compare({"--non-inferior", gate});
    EXPECT_EQ(outcome.code, outcome.out.find("FAIL") == std::string::npos ? 0 : 3) << outcome.err;
    return outcome.out;
  };
  const auto nothing = [](QueryStats&) {};
  EXPECT_THAT(verdict("f1@345=-2%", [](QueryStats& q) { q.retrieved = 3; }),
              HasSubstr("FAIL  f1@345: both are 0 on every query, which leaves nothing to lose; "
                        "labels from 2 on were relevant: eval --relevant\n"));
  EXPECT_THAT(
      verdict("pnr=-0.5", [](QueryStats& q) { q.discordant += std::exchange(q.concordant, 0); }),
      HasSubstr("FAIL  pnr: both are 0 on every query, which leaves nothing to lose\n"));
  for (const char* metric : {"f1@345", "recall@345"}) {
    const auto all = [](QueryStats& q) {
      q.retrieved = 10;
      q.relevant = q.relevant_retrieved = q.query_id < "q2" ? 2 : 3;
    };
    EXPECT_THAT(
        verdict(std::string(metric) + "=-2%", all),
        AllOf(HasSubstr(std::string("FAIL  ") + metric + ": neither turned a document down"),
              HasSubstr("lower --recall-k, or models without classes with --score-threshold")));
    const auto most = [&](QueryStats& q) {
      all(q);
      if (q.query_id == "q5") q.retrieved = 9;
    };
    EXPECT_THAT(verdict(std::string(metric) + "=-2%", most), HasSubstr("PASS"));
  }
  const auto one_label = [](QueryStats& q) {
    q.concordant = q.discordant = 0;
    q.ndcg = 1;
  };
  EXPECT_THAT(verdict("ndcg@10=-2%", one_label),
              HasSubstr("FAIL  ndcg@10: no query has documents with different labels"));
  EXPECT_THAT(verdict("ndcg@10=-10%", nothing), HasSubstr("PASS"));
  verdict("accuracy=-2%", [](QueryStats& q) { q.correct = 0; });
  const auto json =
      nlohmann::json::parse(compare({"--json", "--non-inferior", "accuracy=-2%"}).out);
  EXPECT_EQ(json["gates"][0]["met"], false);
  EXPECT_THAT(json["gates"][0]["reason"].get<std::string>(), HasSubstr("0 on every query"));
}

TEST_F(Compare, RefusesWrongInput) {
  EXPECT_EQ(compare({"--non-inferior", "accuracy"}).code, 2);
  EXPECT_EQ(compare({"--non-inferior", "accuracy=2%"}).code, 2);
  for (const char* gate : {"accuracy=-2", "accuracy=-100%", "pnr=-100%"}) {
    const Outcome outcome = compare({"--non-inferior", gate});
    EXPECT_EQ(outcome.code, 2) << gate;
    EXPECT_THAT(outcome.err, HasSubstr("a gate that nothing fails")) << gate;
  }
  EXPECT_NE(compare({"--non-inferior", "pnr=-2"}).code, 2);
  for (const char* number : {"-2%x", "", "%", "nan", "-nan", "-inf", "-1e999", " -2%"}) {
    EXPECT_EQ(compare({"--non-inferior", std::string("accuracy=") + number}).code, 2) << number;
  }
  EXPECT_EQ(compare({"--non-inferior", "pnr_ties=-2%"}).code, 2);
  for (const auto& [option, value, message] :
       {std::tuple{"--seed", "-1", "--seed: expected a whole number from 0, found -1\n"},
        std::tuple{"--resamples", "0", "--resamples: Value 0 not in range 100 to 1000000\n"},
        std::tuple{"--confidence", "nan",
                   "--confidence: expected a number from 0.5 to 0.9999, found nan\n"}}) {
    const Outcome outcome = compare({option, value});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
  const Outcome unknown = compare({"--non-inferior", "mrr=-2%"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("no metric is called mrr"));

  QueryScores other = scores(1);
  other.queries.pop_back();
  write_scores_file(folder_ / "b.jsonl", other);
  EXPECT_EQ(compare({}).code, 1);

  other = scores(1);
  other.options.recall_k = 10;
  write_scores_file(folder_ / "b.jsonl", other);
  EXPECT_THAT(compare({}).err, HasSubstr("other metric options"));

  spill(folder_ / "b.jsonl", "{}\n");
  EXPECT_THAT(compare({}).err, HasSubstr("b.jsonl:1"));
  std::filesystem::remove(folder_ / "b.jsonl");
  EXPECT_THAT(compare({}).err, HasSubstr("b.jsonl"));
}

}  // namespace
}  // namespace twofour::cli
