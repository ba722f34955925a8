#include "twofour/backend/cuda/plan_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace twofour::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PlanTask task(int64_t n, int64_t k, int64_t rows, int count = 1) {
  return {{n, k, DType::kI8, DType::kI32, std::nullopt, nullptr, false}, rows, count, true};
}

PlanChoice sparse(int id, int split_k = 1, SplitKMode mode = SplitKMode::kDefault) {
  return {PlanUse::kSparse, {id, split_k, mode, 0}};
}
PlanChoice dense(int rank) { return {PlanUse::kDense, {}, rank}; }
PlanChoice own() { return {PlanUse::kOwn, {}}; }

std::vector<std::string> texts(const std::vector<PlanChoice>& choices) {
  std::vector<std::string> out;
  for (const PlanChoice& choice : choices) out.push_back(choice.to_string());
  return out;
}

PlanTrial trial(const PlanChoice& choice, double us) { return {choice, us, "", false}; }

TEST(NextCandidates, EveryAlgorithmFirst) {
  EXPECT_THAT(texts(next_candidates(task(64, 64, 16), {80, 2, 2, true}, {}, {})),
              ElementsAre("sparse, algorithm 0", "sparse, algorithm 1", "own", "dense, rank 0",
                          "dense, rank 1"));
  EXPECT_THAT(texts(next_candidates(task(64, 64, 16), {80, 0, 1, false, "", {0, 2}}, {}, {})),
              ElementsAre("cutlass, sm80-64x64", "cutlass, sm80-128x128", "dense, rank 0"));
  PlanTask plain = task(64, 64, 16);
  plain.sparse = false;
  EXPECT_THAT(texts(next_candidates(plain, {80, 2, 1, true}, {}, {})),
              ElementsAre("dense, rank 0"));
}

TEST(NextCandidates, WhatWasTriedOrFailedIsLeftOut) {
  const PlanTask t = task(64, 64, 16);
  const std::vector<PlanFailure> failed = {
      {PlanTable::key(t.product, 16), sparse(1), "crashed"},
      {PlanTable::key(t.product, 32), sparse(2), "crashed"}};  // of another bucket
  EXPECT_THAT(texts(next_candidates(t, {80, 3, 0, false}, {trial(sparse(0), 5)}, failed)),
              ElementsAre("sparse, algorithm 2"));
}

TEST(NextCandidates, ThenSplitsOfTheTwoFastest) {
  const PlanTask t = task(64, 1024, 16);
  std::vector<PlanTrial> tried = {trial(sparse(0), 5),
                                  trial(sparse(1), 3),
                                  trial(sparse(2), 4),
                                  {sparse(3), 0, "refused", false}};
  const TaskFacts ampere{80, 4, 0, false};
  EXPECT_THAT(
      texts(next_candidates(t, ampere, tried, {})),
      ElementsAre(
          "sparse, algorithm 1, split-k 2 one-kernel", "sparse, algorithm 1, split-k 2 two-kernels",
          "sparse, algorithm 1, split-k 4 one-kernel", "sparse, algorithm 1, split-k 4 two-kernels",
          "sparse, algorithm 2, split-k 2 one-kernel", "sparse, algorithm 2, split-k 2 two-kernels",
          "sparse, algorithm 2, split-k 4 one-kernel",
          "sparse, algorithm 2, split-k 4 two-kernels"));
  for (const PlanChoice& choice : next_candidates(t, ampere, tried, {}))
    tried.push_back(trial(choice, 9));
  EXPECT_TRUE(next_candidates(t, ampere, tried, {}).empty());
}

TEST(NextCandidates, SplitKOfMinusOneIsForHopperAlone) {
  const PlanTask t = task(64, 64, 16);
  for (const int capability : {80, 86, 89, 90, 100, 120}) {
    const auto next = next_candidates(t, {capability, 1, 0, false}, {trial(sparse(0), 5)}, {});
    EXPECT_EQ(next.size(), capability == 90 ? 1u : 0u) << capability;
    for (const PlanChoice& choice : next) EXPECT_EQ(choice.algorithm.split_k, -1);
  }
}

TEST(Fastest, ComparesWithTheBestDenseOne) {
  const auto best = fastest({trial(dense(0), 9),
                             trial(sparse(4), 6),
                             trial(dense(1), 8),
                             {sparse(5), 0, "wrong results", false}});
  ASSERT_TRUE(best);
  EXPECT_EQ(best->to_string(), "sparse, algorithm 4");
  EXPECT_EQ(best->us, 6);
  EXPECT_EQ(best->dense_us, 8);
  EXPECT_EQ(fastest({trial(own(), 3), trial(dense(1), 2)})->to_string(), "dense, rank 1");
  EXPECT_EQ(fastest({{sparse(0), 0, "refused", false}}), std::nullopt);
}

TEST(Fastest, IsSplitAsTheLibraryHasSplitIt) {
  PlanTrial split = trial(sparse(4), 6);
  split.split_k = 8;
  EXPECT_EQ(fastest({split})->to_string(), "sparse, algorithm 4, split-k 8");
  split.choice = sparse(4, 2, SplitKMode::kTwoKernels);
  split.split_k = 1;
  EXPECT_EQ(fastest({split})->algorithm.split_k, 1);
  split.split_k = 0;  // not known
  EXPECT_EQ(fastest({split})->algorithm.split_k, 2);
  // The candidate was tried, whatever became of it.
  PlanTrial plain = trial(sparse(0), 5);
  plain.split_k = 8;
  EXPECT_TRUE(next_candidates(task(64, 64, 16), {80, 1, 0, false}, {plain}, {}).empty());
}

TEST(CoarserBuckets, KeepsWhatWouldCostTooMuch) {
  std::vector<PlanTask> tasks;
  PlanTable table;
  const std::map<int64_t, double> us = {{16, 4}, {32, 4.1}, {48, 5}, {64, 5.2}, {80, 9}};
  for (const auto& [rows, time] : us) {
    tasks.push_back(task(64, 64, rows));
    PlanChoice choice = sparse(0);
    choice.us = time;
    table.set(tasks.back().product, rows, choice);
  }
  EXPECT_THAT(coarser_buckets(tasks, table, 0.05), ElementsAre(32, 64, 80));
  EXPECT_THAT(coarser_buckets(tasks, table, 0), ElementsAre(16, 32, 48, 64, 80));
  EXPECT_THAT(coarser_buckets(tasks, table, 10), ElementsAre(80));
}

TEST(CoarserBuckets, ProductsCountAsOftenAsTheModelHasThem) {
  PlanTable table;
  std::vector<PlanTask> tasks = {task(64, 64, 16, 1), task(64, 64, 32, 1), task(96, 64, 16, 9),
                                 task(96, 64, 32, 9)};
  for (const auto& [t, time] : {std::pair{0, 1.0}, {1, 2.0}, {2, 10.0}, {3, 10.1}}) {
    PlanChoice choice = sparse(0);
    choice.us = time;
    table.set(tasks[t].product, tasks[t].rows, choice);
  }
  EXPECT_THAT(coarser_buckets(tasks, table, 0.05), ElementsAre(32));
  tasks[0].count = tasks[1].count = 9;
  tasks[2].count = tasks[3].count = 1;
  EXPECT_THAT(coarser_buckets(tasks, table, 0.05), ElementsAre(16, 32));
  tasks.push_back(task(128, 64, 16));  // without a time
  EXPECT_TRUE(coarser_buckets(tasks, table, 0.05).empty());
}

// Answers by a script.
class ScriptedProbe final : public PlanProbe {
 public:
  TaskFacts facts_{80, 3, 1, true};
  std::map<std::string, double> us;             // by the candidate's text; others take 100
  std::map<std::string, std::string> failures;  // likewise
  std::map<std::string, std::string> deaths;    // fatal ones
  std::vector<std::string> asked;
  std::vector<double> limits;

  PlanEnvironment environment() override { return {}; }
  TaskFacts facts(const PlanTask& task) override {
    if (task.product.n == 13) throw Error("probe", "no facts");
    return facts_;
  }
  PlanTrial measure(const PlanTask&, const PlanChoice& candidate, double limit_s) override {
    const std::string text = candidate.to_string();
    asked.push_back(text);
    limits.push_back(limit_s);
    PlanTrial out{candidate, us.contains(text) ? us[text] : 100, "", false};
    if (failures.contains(text)) out = {candidate, 0, failures[text], false};
    if (deaths.contains(text)) out = {candidate, 0, deaths[text], true};
    return out;
  }
};

class SearchTest : public testing::Test {
 protected:
  bool search(const std::vector<PlanTask>& tasks) {
    PlanSearchOptions options = options_;
    options.save = [&](const PlanContents& contents) { saved_.push_back(contents); };
    Callbacks callbacks;
    callbacks.log = [&](LogLevel, const std::string& text) { log_ += text + "\n"; };
    callbacks.progress = [&](const Progress& progress) { done_.push_back(progress.done); };
    callbacks.stop_requested = [&] { return probe_.asked.size() >= stop_after_; };
    return search_plans(probe_, tasks, options, contents_, callbacks);
  }

  ScriptedProbe probe_;
  PlanSearchOptions options_;
  PlanContents contents_;
  std::vector<PlanContents> saved_;
  std::vector<int64_t> done_;
  std::string log_;
  size_t stop_after_ = 1000;
};

TEST_F(SearchTest, PicksTheFastestOfEachTask) {
  probe_.us = {{"sparse, algorithm 2", 5}, {"dense, rank 0", 8}};
  EXPECT_TRUE(search({task(64, 64, 16), task(64, 64, 32)}));
  for (const int64_t rows : {16, 32}) {
    const PlanChoice* choice = contents_.table.find(task(64, 64, rows).product, rows);
    ASSERT_NE(choice, nullptr);
    EXPECT_EQ(choice->to_string(), "sparse, algorithm 2");
    EXPECT_EQ(choice->dense_us, 8);
  }
  EXPECT_THAT(contents_.buckets, ElementsAre(32));
  EXPECT_THAT(done_, ElementsAre(1, 2));
  EXPECT_EQ(saved_.back(), contents_);
  EXPECT_EQ(saved_.front().table.all().size(), 1u);
}

TEST_F(SearchTest, ACrashIsKeptAtOnceAndNotRepeated) {
  probe_.deaths = {{"sparse, algorithm 1", "crashed by signal 4"}};
  EXPECT_TRUE(search({task(64, 64, 16)}));
  ASSERT_EQ(contents_.failed.size(), 1u);
  EXPECT_EQ(contents_.failed[0].reason, "crashed by signal 4");
  EXPECT_EQ(saved_.front().failed, contents_.failed);  // before anything else was tried
  EXPECT_TRUE(saved_.front().table.all().empty());
  EXPECT_THAT(log_, HasSubstr("sparse, algorithm 1 crashed by signal 4; it will not be tried"));

  contents_.table = {};
  probe_.asked.clear();
  EXPECT_TRUE(search({task(64, 64, 16)}));
  EXPECT_THAT(probe_.asked, testing::Not(testing::Contains("sparse, algorithm 1")));
}

TEST_F(SearchTest, GoesOnWhereItWasStopped) {
  const std::vector<PlanTask> tasks = {task(64, 64, 16), task(64, 64, 32)};
  stop_after_ = 7;
  EXPECT_FALSE(search(tasks));
  EXPECT_NE(contents_.table.find(tasks[0].product, 16), nullptr);
  EXPECT_EQ(contents_.table.find(tasks[1].product, 32), nullptr);
  EXPECT_EQ(saved_.back(), contents_);
  EXPECT_TRUE(contents_.buckets.empty());

  const size_t before = probe_.asked.size();
  stop_after_ = 1000;
  EXPECT_TRUE(search(tasks));
  EXPECT_EQ(probe_.asked.size(), before + 5);  // those of the second task alone
}

TEST_F(SearchTest, TheTimeOfATaskIsLimited) {
  options_.task_limit_s = 0;
  EXPECT_TRUE(search({task(64, 64, 16)}));
  EXPECT_TRUE(probe_.asked.empty());
  EXPECT_THAT(log_, HasSubstr("no candidate ran"));
  options_.task_limit_s = 2;
  options_.candidate_limit_s = 5;
  EXPECT_TRUE(search({task(64, 64, 16)}));
  // A candidate that has begun has all of its own time: a limit that it exceeds is kept for ever.
  EXPECT_FALSE(probe_.limits.empty());
  for (const double limit : probe_.limits) EXPECT_EQ(limit, 5);
}

TEST_F(SearchTest, ADenseWeightOfTheSameShapeIsAnotherTask) {
  PlanTask plain = task(64, 64, 16);
  plain.sparse = false;
  EXPECT_TRUE(search({task(64, 64, 16), plain}));
  EXPECT_EQ(contents_.table.all().size(), 2u);
  EXPECT_EQ(contents_.table.find(plain.product, 16, false)->use, PlanUse::kDense);
}

TEST_F(SearchTest, ATaskThatCannotRunIsLeftOut) {
  for (const char* text : {"sparse, algorithm 0", "sparse, algorithm 1", "sparse, algorithm 2",
                           "own", "dense, rank 0"}) {
    probe_.failures[text] = "wrong results";
  }
  EXPECT_TRUE(search({task(13, 64, 16), task(64, 64, 16)}));
  EXPECT_TRUE(contents_.table.all().empty());
  EXPECT_TRUE(contents_.failed.empty());  // nothing died: it may be tried again
  EXPECT_THAT(log_, HasSubstr("I8 [13, 64] -> I32, 16 rows is left out: [probe] no facts"));
  EXPECT_THAT(log_, HasSubstr("I8 [64, 64] -> I32, 16 rows: no candidate ran: wrong results"));
}

}  // namespace
}  // namespace twofour::cuda
