#include "twofour/backend/cuda/plan_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

const PlanTask kTask{{64, 128, DType::kI8, DType::kI32, std::nullopt, nullptr, false}, 48, 1, true};

PlanChoice algorithm(int id) { return {PlanUse::kSparse, {id, 2, SplitKMode::kTwoKernels, 1}}; }

// What a candidate does is said by its id.
class ScriptedMeter final : public PlanMeter {
 public:
  PlanEnvironment environment() override { return {"GPU", "1", "2", "3", "4"}; }
  TaskFacts facts(const PlanTask& task) override {
    if (task.rows == 16) abort();
    return {static_cast<int>(task.product.n),
            static_cast<int>(task.product.k),
            static_cast<int>(task.rows),
            task.sparse,
            "no cuBLASLt",
            {1, 3}};
  }
  PlanTime measure(const PlanTask&, const PlanChoice& candidate) override {
    switch (candidate.algorithm.id) {
      case 1:
        abort();
      case 2:
        for (;;) pause();
      case 3:
        throw Error("meter", "the library refuses this algorithm");
      case 4:
        throw DeviceLost("meter", "an illegal instruction");
      case 5:
        _exit(3);
      default:
        return {++measured_ + 0.5, "no capture", 4};
    }
  }

 private:
  double measured_ = 0;  // by this process
};

PlanProcess make() {
  return PlanProcess([] { return std::make_unique<ScriptedMeter>(); });
}

TEST(PlanProcess, AnswersEveryQuestion) {
  PlanProcess process = make();
  EXPECT_EQ(process.environment(), (PlanEnvironment{"GPU", "1", "2", "3", "4"}));
  const TaskFacts facts = process.facts(kTask);
  EXPECT_EQ(facts.capability, 64);
  EXPECT_EQ(facts.sparse_algorithms, 128);
  EXPECT_EQ(facts.dense_algorithms, 48);
  EXPECT_TRUE(facts.own);
  EXPECT_EQ(facts.missing, "no cuBLASLt");
  EXPECT_EQ(facts.cutlass, (std::vector<int>{1, 3}));
  for (const double us : {1.5, 2.5}) {
    const PlanTrial trial = process.measure(kTask, algorithm(9), 5);
    EXPECT_EQ(trial.us, us);
    EXPECT_EQ(trial.no_graph, "no capture");
    EXPECT_EQ(trial.split_k, 4);
    EXPECT_EQ(trial.failure, "");
    EXPECT_TRUE(trial.choice.same_kernel(algorithm(9)));
  }
  EXPECT_EQ(process.started(), 1);
}

TEST(PlanProcess, ACrashIsToldAndTheNextQuestionAnswered) {
  PlanProcess process = make();
  PlanTrial trial = process.measure(kTask, algorithm(1), 5);
  EXPECT_EQ(trial.failure, "crashed by signal " + std::to_string(SIGABRT));
  EXPECT_TRUE(trial.fatal);
  EXPECT_EQ(process.measure(kTask, algorithm(9), 5).us, 1.5);  // a new process counts anew
  EXPECT_EQ(process.started(), 2);
  trial = process.measure(kTask, algorithm(5), 5);
  EXPECT_EQ(trial.failure, "ended with status 3");
  EXPECT_TRUE(trial.fatal);
}

TEST(PlanProcess, AHangEndsAtTheLimit) {
  PlanProcess process = make();
  process.environment();
  const auto begin = std::chrono::steady_clock::now();
  const PlanTrial trial = process.measure(kTask, algorithm(2), 0.2);
  EXPECT_EQ(trial.failure, "gave no answer within 0.2 s");
  EXPECT_TRUE(trial.fatal);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  EXPECT_EQ(process.measure(kTask, algorithm(9), 30).us, 1.5);
}

TEST(PlanProcess, ARefusalIsNotFatalALostDeviceIs) {
  PlanProcess process = make();
  PlanTrial trial = process.measure(kTask, algorithm(3), 30);
  EXPECT_THAT(trial.failure, HasSubstr("the library refuses"));
  EXPECT_FALSE(trial.fatal);
  EXPECT_EQ(process.started(), 1);
  trial = process.measure(kTask, algorithm(4), 30);
  EXPECT_THAT(trial.failure, HasSubstr("an illegal instruction"));
  EXPECT_TRUE(trial.fatal);
  EXPECT_EQ(process.measure(kTask, algorithm(9), 30).us, 1.5);
  EXPECT_EQ(process.started(), 2);
}

TEST(PlanProcess, WhatKeepsItFromStartingIsAnError) {
  PlanProcess broken([]() -> std::unique_ptr<PlanMeter> { throw Error("cuda", "no driver"); });
  EXPECT_THROW(
      {
        try {
          broken.environment();
        } catch (const Error& error) {
          EXPECT_THAT(error.what(), HasSubstr("[cuda] no driver"));
          throw;
        }
      },
      Error);
  EXPECT_THAT(broken.measure(kTask, algorithm(9), 30).failure, HasSubstr("no driver"));
  PlanProcess process = make();
  PlanTask crashing = kTask;
  crashing.rows = 16;
  EXPECT_THROW(process.facts(crashing), Error);
  EXPECT_EQ(process.facts(kTask).capability, 64);
}

// The search over a process that really dies.
TEST(PlanProcess, ASearchSurvivesCrashesAndHangs) {
  PlanProcess process = make();
  class Facts final : public PlanProbe {
   public:
    explicit Facts(PlanProcess& process) : process_(process) {}
    PlanEnvironment environment() override { return process_.environment(); }
    TaskFacts facts(const PlanTask&) override { return {80, 7, 0, false, {}}; }
    PlanTrial measure(const PlanTask& task, const PlanChoice& choice, double limit) override {
      return process_.measure(task, choice, limit);
    }

   private:
    PlanProcess& process_;
  } probe(process);
  PlanSearchOptions options;
  options.candidate_limit_s = 0.5;
  PlanContents contents;
  EXPECT_TRUE(search_plans(probe, {kTask}, options, contents, {}));
  const PlanChoice* choice = contents.table.find(kTask.product, kTask.rows);
  ASSERT_NE(choice, nullptr);
  EXPECT_GT(choice->us, 0);
  EXPECT_EQ(contents.failed.size(), 4u);  // 1, 2, 4 and 5; 3 is only refused
}

}  // namespace
}  // namespace twofour::cuda
