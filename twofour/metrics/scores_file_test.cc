#include "twofour/metrics/scores_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

std::filesystem::path temp_file(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / ("scores_file_test_" + name);
}

QueryScores example() {
  QueryScores scores{.system = "sparse-int8 \"r = 1\""};
  scores.options = {.ndcg_k = 5, .recall_k = 7, .relevant_label = 1.1f, .score_threshold = 0.1f};
  scores.queries.push_back({.query_id = "q1",
                            .concordant = 3,
                            .discordant = 2,
                            .ties = 1,
                            .pairs = 9,
                            .classified = 8,
                            .correct = 7,
                            .ndcg = 1.0 / 3,
                            .ndcg_defined = true,
                            .retrieved = 4,
                            .relevant = 5,
                            .relevant_retrieved = 3});
  scores.queries.push_back({.query_id = "日本\n"});
  return scores;
}

TEST(ScoresFile, RoundTripIsExact) {
  for (const char* name : {"a.jsonl", "a.jsonl.zst"}) {
    write_scores_file(temp_file(name), example());
    EXPECT_EQ(read_scores_file(temp_file(name)), example());
  }
  EXPECT_LT(std::filesystem::file_size(temp_file("a.jsonl.zst")),
            std::filesystem::file_size(temp_file("a.jsonl")));
}

TEST(ScoresFile, DefaultOptionsRoundTrip) {
  QueryScores scores = example();
  scores.options = {.gain = Gain::kLinear};
  scores.data_checksum = "0123456789abcdef";
  write_scores_file(temp_file("b.jsonl"), scores);
  EXPECT_EQ(read_scores_file(temp_file("b.jsonl")), scores);
}

// Systems find different documents of a collection, but as many relevant ones are there.
TEST(ScoresFile, RankingsOfACollectionHoldOtherPairs) {
  QueryScores a = example();
  a.collection = true;
  write_scores_file(temp_file("d.jsonl"), a);
  EXPECT_EQ(read_scores_file(temp_file("d.jsonl")), a);
  QueryScores b = a;
  ++b.queries[0].pairs;
  ++b.queries[0].ties;
  check_comparable("a", a, "b", b);
  a.collection = b.collection = false;
  EXPECT_THAT([&] { check_comparable("a", a, "b", b); },
              ThrowsMessage<Error>(HasSubstr("other pairs or labels of query 'q1'")));
  b = a;
  b.collection = true;
  EXPECT_THAT([&] { check_comparable("a", a, "b", b); },
              ThrowsMessage<Error>(HasSubstr("other metric options")));
}

TEST(ScoresFile, RefusesIdsThatAreNotUtf8) {
  QueryScores scores = example();
  scores.queries[0].query_id = "\xff";
  EXPECT_THAT([&] { write_scores_file(temp_file("c.jsonl"), scores); },
              ThrowsMessage<Error>(AllOf(HasSubstr("c.jsonl"), HasSubstr("is not UTF-8"))));
  EXPECT_FALSE(std::filesystem::exists(temp_file("c.jsonl")));
}

// It is the path of a model, which may be any bytes.
TEST(ScoresFile, NamesOfSystemsNeedNotBeUtf8) {
  QueryScores scores = example();
  scores.system = "runs/caf\xe9";
  write_scores_file(temp_file("latin.jsonl"), scores);
  EXPECT_EQ(read_scores_file(temp_file("latin.jsonl")).system, "runs/caf\xEF\xBF\xBD");
}

// The written example with `from` replaced by `to`.
void expect_refused(const std::string& from, const std::string& to, const std::string& message) {
  const auto path = temp_file("bad.jsonl");
  write_scores_file(path, example());
  std::string text = read_file(path);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  write_file_atomically(path, text.replace(at, from.size(), to));
  EXPECT_THAT([&] { read_scores_file(path); },
              ThrowsMessage<Error>(AllOf(HasSubstr("bad.jsonl"), HasSubstr(message))));
}

TEST(ScoresFile, RefusesDamagedFiles) {
  expect_refused("\"format\"", "\"kind\"", "bad.jsonl:1] expected a header with format");
  expect_refused("\"version\":1", "\"version\":2", ":1] version is 2, expected 1");
  expect_refused("exponential", "cubic", ":1, options] 'gain' is 'cubic'");
  expect_refused("\"ndcg_k\":5", "\"ndcg_k\":-5",
                 ":1, options] \"ndcg_k\": expected a whole number from 0 to 9223372036854775807, "
                 "found -5");
  expect_refused("\"options\":{", "\"options\":1,\"x\":{",
                 ":1, options] expected a JSON object, found number");
  expect_refused("\"options\":{", "\"option\":{", ":1] key \"options\" is missing");
  expect_refused("\"system\":\"", "\"system\":null,\"x\":\"", ":1] key \"system\" is missing");
  expect_refused("\"ties\":1", "\"ties\":\"1\"", ":2] \"ties\": expected a whole number");
  expect_refused("\"ties\":1", "\"ties\":9223372036854775808", "found 9223372036854775808");
  expect_refused("\"ties\":1", "\"ties\":1,\"ties\":2", ":2] key \"ties\" stands twice");
  expect_refused("\"pairs\":9", "\"pair\":9", ":2] key \"pairs\" is missing");
  expect_refused("\"correct\":7", "\"correct\":9", ":2] the counts of query 'q1' contradict");
  expect_refused("\"relevant_retrieved\":3", "\"relevant_retrieved\":5", "contradict each other");
  expect_refused("\"ndcg\":0.3", "\"ndcg\":\"0.3\",\"x\":0.3",
                 ":2] \"ndcg\": expected a number, found string");
  expect_refused("日本\\n", "q1", ":3] query 'q1' stands twice");
  expect_refused("\"query\":\"q1\"", "\"query\":q1", ":2] damaged JSON: parse error at");
  expect_refused("{\"classified\":8", "[", ":2] damaged JSON");
}

TEST(ScoresFile, OnlyTheSameDataIsComparable) {
  const QueryScores a = example();
  const auto message = [&](auto change) {
    QueryScores b = a;
    change(b);
    return error_of([&] { check_comparable("a.jsonl", a, "b.jsonl", b); });
  };
  EXPECT_EQ(message([](QueryScores&) {}), "no error");
  EXPECT_EQ(message([](QueryScores& b) {
              std::swap(b.queries[0], b.queries[1]);
              --b.queries[1].concordant;
              ++b.queries[1].discordant;
              --b.queries[1].correct;
            }),
            "no error");
  EXPECT_THAT(message([](QueryScores& b) { b.options.ndcg_k = 9; }),
              HasSubstr("[b.jsonl] was evaluated with other metric options than a.jsonl"));
  EXPECT_THAT(message([](QueryScores& b) { b.queries[0].query_id = "q2"; }),
              HasSubstr("[b.jsonl] has query 'q2', which is not in a.jsonl"));
  EXPECT_THAT(message([](QueryScores& b) { b.queries.pop_back(); }),
              HasSubstr("[b.jsonl] lacks query '日本\n' of a.jsonl"));
  EXPECT_THAT(message([](QueryScores& b) { ++b.queries[0].relevant; }),
              HasSubstr("has other pairs or labels of query 'q1' than a.jsonl"));
  EXPECT_THAT(message([](QueryScores& b) { ++b.queries[0].ties; }),
              HasSubstr("has other pairs or labels of query 'q1' than a.jsonl"));
}

TEST(ScoresFile, ChecksumsTellDataApartThatHasTheSameIdsAndCounts) {
  QueryScores a = example(), b = a;
  a.data_checksum = "0123456789abcdef";
  const auto message = [&](const char* checksum) {
    b.data_checksum = checksum;
    return error_of([&] { check_comparable("a.jsonl", a, "b.jsonl", b); });
  };
  EXPECT_EQ(message("0123456789abcdee"),
            "[b.jsonl] has the checksum of other data than a.jsonl. Compare systems scored on the "
            "same data, where it has no ids with its rows in the same order");
  EXPECT_EQ(message("0123456789abcdef"), "no error");
  EXPECT_EQ(message(""), "no error");  // an older file
  write_scores_file(temp_file("pooled.jsonl"), a);
  EXPECT_EQ(pool_scores_files({temp_file("pooled.jsonl")}).data_checksum, "");
}

TEST(ScoresFile, RefusesATruncatedLine) {
  const auto path = temp_file("cut.jsonl");
  write_scores_file(path, example());
  const std::string text = read_file(path);
  write_file_atomically(path, text.substr(0, text.size() - 20));
  EXPECT_THAT([&] { read_scores_file(path); },
              ThrowsMessage<Error>(AllOf(HasSubstr("cut.jsonl:3] damaged JSON: parse error at"),
                                         Not(HasSubstr("json.exception")))));
}

TEST(ScoresFile, TellsTheResultOfAnEvaluationFromItsScores) {
  const auto path = temp_file("eval.json");
  for (const char* text :
       {"{\n  \"system\": \"a\",\n  \"metrics\": {\"pnr\": 2}\n}\n", "{\"metrics\": {}}"}) {
    write_file_atomically(path, text);
    EXPECT_THAT(
        [&] { read_scores_file(path); },
        ThrowsMessage<Error>(AllOf(HasSubstr("eval.json] is a result of twofour eval --out"),
                                   HasSubstr("Name the file that twofour eval --scores"))));
  }
}

TEST(ScoresFile, OtherFilesAreRefusedWithTheCommandThatWritesOne) {
  const std::string remedy = "twofour eval MODEL DATA --scores FILE.jsonl.zst writes one";
  const auto path = temp_file("other.txt");
  for (const char* text :
       {"q1 Q0 d1 1 0.5 x\n", "query\tdocument\tlabel\n", "{\"step\": 1}\n", "{\"format\": 3}\n"}) {
    write_file_atomically(path, text);
    EXPECT_THAT(error_of([&] { read_scores_file(path); }),
                AllOf(HasSubstr("other.txt:1] expected a header with format"), HasSubstr(remedy)));
  }
  const auto folder = temp_file("run");
  std::filesystem::create_directories(folder);
  EXPECT_THAT(error_of([&] { read_scores_file(folder); }),
              HasSubstr("run] is a folder, expected a file of scores. " + remedy));
  write_scores_file(folder / "scores.jsonl.zst", example());
  EXPECT_THAT(error_of([&] { read_scores_file(folder); }),
              HasSubstr("Did you mean " + (folder / "scores.jsonl.zst").string() + "?"));
  std::filesystem::remove(folder / "scores.jsonl.zst");
  std::filesystem::create_symlink("scores.jsonl.zst", folder / "scores.jsonl.zst");
  EXPECT_THAT(error_of([&] { read_scores_file(folder); }),  // it cannot be looked at
              HasSubstr("run] is a folder, expected a file of scores. " + remedy));
  std::filesystem::remove_all(folder);
}

TEST(ScoresFile, RefusesFilesWithoutQueries) {
  QueryScores scores = example();
  scores.queries.clear();
  write_scores_file(temp_file("empty.jsonl"), scores);
  EXPECT_THAT([] { read_scores_file(temp_file("empty.jsonl")); },
              ThrowsMessage<Error>(HasSubstr("holds no queries")));
  EXPECT_THAT([] { read_scores_file(temp_file("absent.jsonl")); },
              ThrowsMessage<Error>(HasSubstr("absent.jsonl")));
}

}  // namespace
}  // namespace twofour
