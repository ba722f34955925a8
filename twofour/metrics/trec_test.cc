#include "twofour/metrics/trec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::filesystem::path temp_file(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / ("trec_test_" + name);
}

TEST(Trec, WritesRanksByScore) {
  const TrecRun run = {"tag", {{"q2", "a", .1}, {"q1", "a", 1}, {"q2", "b", 2}, {"q2", "c", .1}}};
  write_trec_run(temp_file("run"), run);
  EXPECT_EQ(read_file(temp_file("run")),
            "q2 Q0 b 1 2 tag\nq2 Q0 a 2 0.1 tag\nq2 Q0 c 3 0.1 tag\nq1 Q0 a 1 1 tag\n");
}

TEST(Trec, RunsRoundTrip) {
  const TrecRun run = {"t", {{"q", "b", 1.0 / 3}, {"q", "a", -1e-30}, {"r", "a", 1e300}}};
  for (const char* name : {"round", "round.zst"}) {
    write_trec_run(temp_file(name), run);
    EXPECT_EQ(read_trec_run(temp_file(name)), run);
  }
}

TEST(Trec, ReadsAnyWhiteSpace) {
  write_file_atomically(temp_file("spaces"), "1\tQ0\td1\t7\t +2.5e0\tX\r\n\n  2 Q0 d 1 -1 X");
  EXPECT_EQ(read_trec_run(temp_file("spaces")), (TrecRun{"X", {{"1", "d1", 2.5}, {"2", "d", -1}}}));
}

void expect_run_refused(const std::string& text, const std::string& message) {
  write_file_atomically(temp_file("bad"), text);
  EXPECT_THAT([] { read_trec_run(temp_file("bad")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("trec_test_bad"), HasSubstr(message))));
}

TEST(Trec, RefusesDamagedFiles) {
  expect_run_refused("q Q0 d 1 2\n", ":1] 5 fields, expected 6");
  expect_run_refused("q Q0 d 1 2 t\nq Q0 e 1 2x t\n", ":2] score '2x' is not a finite number");
  expect_run_refused("q Q0 d 1 nan t\n", ":1] score 'nan' is not a finite number");
  expect_run_refused("q Q0 d 1 + t\n", ":1] score '+' is not a finite number");
  expect_run_refused("q Q0 d 1 2 t\nq Q0 d 2 1 t\n",
                     ":2] document 'd' stands twice under query 'q'");
  expect_run_refused("\n", "holds no rows");
}

TEST(Trec, RefusesRunsThatNoReaderCouldTakeApart) {
  const auto refused = [](TrecRun run, const std::string& message) {
    EXPECT_THAT([&] { write_trec_run(temp_file("never"), run); },
                ThrowsMessage<Error>(AllOf(HasSubstr("trec_test_never"), HasSubstr(message))));
    EXPECT_FALSE(std::filesystem::exists(temp_file("never")));
  };
  refused({"my run", {{"q", "d", 1}}}, "tag 'my run' is empty or holds white space");
  refused({"t", {{"", "d", 1}}}, "query id ''");
  refused({"t", {{"q", "a\tb", 1}}}, "document id 'a\tb'");
  refused({"t", {{"q", "d", NAN}}}, "the score of document 'd' for query 'q' is nan");
  refused({"t", {{"q", "d", 1}, {"q", "d", 2}}}, "stands twice");
}

TEST(Trec, ScoresThePairsOfADataset) {
  Dataset data;
  data.origin = "test.tsv";
  data.query_ids = {"q1", "q2"};
  data.document_ids = {"a", "b"};
  data.pairs = {{1, 0, 2}, {0, 1, 0}};
  TrecRun run = {"t", {{"q1", "b", 3}, {"q1", "a", 9}, {"q2", "a", 4}}};
  const auto pairs = pairs_of_run(run, data);
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0].query, 1);
  EXPECT_EQ(pairs[0].label, 2);
  EXPECT_EQ(pairs[0].score, 4);
  EXPECT_EQ(pairs[0].predicted, -1);
  EXPECT_EQ(pairs[1].score, 3);
  run.rows.pop_back();
  EXPECT_THAT([&] { pairs_of_run(run, data); },
              ThrowsMessage<Error>(
                  HasSubstr("[test.tsv] run 't' has no score for 1 of 2 pairs, the first is "
                            "document 'a' of query 'q2'. Rank them too; twofour eval "
                            "--collection counts them as not found")));
}

Dataset without_ids(const std::string& query, const std::string& name) {
  return parse_dataset(
      "query\tdocument\tlabel\n" + query + "\ta\t1\n" + query + "\tb\t0\nr\ta\t1\n", name);
}

TEST(Trec, NumbersAreThoseOfOneDataset) {
  const Dataset data = without_ids("q", "data.tsv"), other = without_ids("p", "other.tsv");
  TrecRun run = {run_tag(data), {{"q1", "d1", 2}, {"q1", "d2", 1}, {"q2", "d1", 1}}};
  EXPECT_EQ(match_run("run", run, data).pairs.total, 3);
  const auto message = [&](const Dataset& dataset) {
    return error_of([&] { match_run("run", run, dataset); });
  };
  EXPECT_THAT(message(other), HasSubstr("[run] is of other data than other.tsv: its tag is " +
                                        run_tag(data) + ", expected " + run_tag(other)));
  const Dataset turned =
      parse_dataset("query\tdocument\tlabel\nr\ta\t1\nq\ta\t1\nq\tb\t0\n", "turned.tsv");
  EXPECT_THAT(message(turned), AllOf(HasSubstr("of other data than turned.tsv"),
                                     HasSubstr("rows must stand in the same order")));
  run.tag = "bm25";
  EXPECT_EQ(message(other), "no error") << "nobody can know";
  run.rows.push_back({"q2", "d2", 1});
  EXPECT_THAT(message(data), HasSubstr("[run] is of other data: 1 of 4 pairs of the run are not in "
                                       "data.tsv, the first is document 'd2' of query 'q2'. Name"));
  run.rows.push_back({"q3", "d1", 1});
  EXPECT_THAT(message(data), HasSubstr("[run] is of other data: 1 of 3 queries of the run are not "
                                       "in data.tsv, the first is 'q3'. Name"));
}

TEST(Trec, WhatRunAndDatasetDoNotShareIsCounted) {
  Dataset data;
  data.origin = "test.tsv";
  data.query_ids = {"A", "B"};
  data.document_ids = {"a", "b"};
  data.pairs = {{0, 0, 2}, {0, 1, 0}, {1, 0, 1}};
  TrecRun run = {"twofour-0", {{"A", "a", 3}, {"C", "a", 2}, {"A", "x", 1}, {"A", "y", 0}}};
  EXPECT_EQ(run_tag(data), "twofour");
  const RunMatch match = match_run("run", run, data);
  const auto expect = [](const Unmatched& found, int64_t count, int64_t total, const char* first) {
    EXPECT_EQ(found.count, count);
    EXPECT_EQ(found.total, total);
    EXPECT_EQ(found.first, first);
  };
  expect(match.queries, 1, 2, "'C'");
  expect(match.pairs, 2, 3, "document 'x' of query 'A'");
  expect(match.unranked, 1, 2, "'B'");
  run.rows = {{"C", "a", 2}};
  EXPECT_THAT(error_of([&] { match_run("run", run, data); }),
              HasSubstr("[run] no query of the run is in test.tsv: ids are such as 'C' here, 'A' "
                        "there"));
}

// Ties included: scores of models that are neighbours in f32 stay apart, equal ones equal.
TEST(Trec, ScoresOfAFileRankAsTheScoresThatWereWritten) {
  Dataset data;
  data.query_ids = {"q"};
  std::vector<ScoredPair> pairs;
  float score = 0.1f;
  for (int i = 0; i < 50; ++i) {
    if (i % 3 != 0) score = std::nextafter(score, i % 2 == 0 ? 1.0f : 0.0f);
    data.document_ids.push_back(std::to_string(i));
    data.pairs.push_back({0, i, static_cast<float>(i % 4)});
    pairs.push_back({0, static_cast<float>(i % 4), score});
  }
  TrecRun run = {"t", {}};
  for (const Pair& pair : data.pairs)
    run.rows.push_back({"q", data.document_ids[pair.document], pairs[pair.document].score});
  write_trec_run(temp_file("same"), run);
  const auto again = pairs_of_run(read_trec_run(temp_file("same")), data);
  const auto expected = query_stats(pairs, data.query_ids);
  EXPECT_EQ(query_stats(again, data.query_ids), expected);
  EXPECT_GT(expected[0].ties, 0);
}

TEST(Trec, ScoresBeyondF32AreFound) {
  Dataset data;
  data.query_ids = {"q"};
  data.document_ids = {"a", "b"};
  data.pairs = {{0, 0, 1}, {0, 1, 0}};
  const TrecRun run = {"t", {{"q", "a", 1e300}, {"q", "b", -1e300}}};
  for (const auto& pairs : {pairs_of_run(run, data), pairs_of_collection_run(run, data)}) {
    EXPECT_EQ(pairs[0].score, std::numeric_limits<float>::max());
    EXPECT_EQ(pairs[1].score, std::numeric_limits<float>::lowest());
  }
}

TEST(Trec, RunsOverACollectionNeedNotMeetTheJudgments) {
  Dataset data;
  data.query_ids = {"q1", "q2"};
  data.document_ids = {"a", "b"};
  data.pairs = {{0, 0, 2}, {0, 1, 1}, {1, 0, 2}};
  const TrecRun run = {"t", {{"q1", "x", 9}, {"q1", "a", 8}, {"other", "a", 7}}};
  const auto pairs = pairs_of_collection_run(run, data);
  ASSERT_EQ(pairs.size(), 4u);
  EXPECT_EQ(pairs[0].score, 8);
  EXPECT_TRUE(std::isinf(pairs[1].score));
  EXPECT_TRUE(std::isinf(pairs[2].score));
  EXPECT_EQ(pairs[3].query, 0);
  EXPECT_EQ(pairs[3].label, 0);
  EXPECT_EQ(pairs[3].score, 9);
}

}  // namespace
}  // namespace twofour
