#include "twofour/backend/cuda/plan_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "twofour/backend/cuda/host_kernels.h"
#include "twofour/backend/cuda/testing.h"
#include "twofour/backend/cuda/testing_dense.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// k is as much as every kernel takes.
PlanTask task(DType input, DType output, int64_t rows = 32, bool sparse = true) {
  return {{32, 128, input, output, std::nullopt, nullptr, false}, rows, 1, sparse};
}

PlanChoice cutlass(int variant) {
  PlanChoice choice{PlanUse::kCutlass, {}};
  choice.variant = variant;
  return choice;
}

class MeterTest : public testing::Test {
 protected:
  DeviceMeter make() { return {runtime_, &sparse_, &dense_, kernels_, 0, options_}; }

  std::string error_of(DeviceMeter& meter, const PlanTask& task, const PlanChoice& choice) {
    try {
      meter.measure(task, choice);
    } catch (const DeviceLost& error) {
      return std::string("lost: ") + error.what();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  void TearDown() override {
    EXPECT_EQ(sparse_.violations + dense_.violations + runtime_.violations, "");
    EXPECT_EQ(sparse_.alive() + dense_.alive() + runtime_.allocations(), 0u);
  }

  MeterOptions options_{1, 3, 2, 0};
  FakeRuntime runtime_;
  FakeCusparseLt sparse_{runtime_};
  FakeCublasLt dense_{runtime_};
  HostKernels kernels_{runtime_};
};

TEST_F(MeterTest, FactsOfATask) {
  DeviceMeter meter = make();
  EXPECT_EQ(meter.environment().gpu, "Fake H100");
  const TaskFacts facts = meter.facts(task(DType::kI8, DType::kI32));
  EXPECT_EQ(facts.capability, 90);
  EXPECT_EQ(facts.sparse_algorithms, sparse_.known_algorithms);
  EXPECT_EQ(facts.dense_algorithms, dense_.known_algorithms);
  EXPECT_TRUE(facts.own);
  EXPECT_THAT(facts.cutlass, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_FALSE(meter.facts(task(DType::kI8, DType::kI32, 80)).own);
  PlanTask short_rows = task(DType::kI8, DType::kI32);
  short_rows.product.k = 64;
  EXPECT_THAT(meter.facts(short_rows).cutlass, ElementsAre(3, 4));
  const TaskFacts plain = meter.facts(task(DType::kF16, DType::kF16, 32, false));
  EXPECT_EQ(plain.sparse_algorithms, 0);
  EXPECT_FALSE(plain.own);
  EXPECT_THAT(plain.cutlass, IsEmpty());
  runtime_.devices[0].major = 8;
  EXPECT_THAT(make().facts(task(DType::kF16, DType::kF16)).cutlass, ElementsAre(0, 1, 2));
}

TEST_F(MeterTest, EveryKindOfCandidateIsTimedOnEveryType) {
  DeviceMeter meter = make();
  for (const auto& [input, output] : {std::pair{DType::kI8, DType::kI32},
                                      {DType::kI8, DType::kF16},
                                      {DType::kI8, DType::kBF16},
                                      {DType::kF16, DType::kF16},
                                      {DType::kBF16, DType::kBF16}}) {
    for (const PlanChoice& choice :
         {PlanChoice{PlanUse::kSparse, {3, 2, SplitKMode::kTwoKernels, 0}},
          PlanChoice{PlanUse::kDense, {}, 2}, PlanChoice{PlanUse::kOwn, {}}, cutlass(1),
          cutlass(4)}) {
      // The stand-in's events are 1.5 ms apart, whatever lies between.
      const PlanTime time = meter.measure(task(input, output), choice);
      EXPECT_EQ(time.no_graph, "");
      EXPECT_EQ(time.us, 1500.0 / options_.runs) << dtype_name(input) << ' ' << choice.to_string();
    }
  }
  EXPECT_EQ(sparse_.plans_made.back().algorithm.id, 3);
  EXPECT_EQ(dense_.runs.back().algorithm, 2u);
  // One run is checked, then a warm-up, two that tell how long they take, and two that become a
  // graph.
  EXPECT_EQ(dense_.runs.size(), 5u * (1 + 1 + 2 + 2));
  EXPECT_EQ(runtime_.launches, 25u * (1 + 3));
}

TEST_F(MeterTest, ProductsThatScaleAreAskedForAsTheEngineAsks) {
  for (const bool epilogue : {true, false}) {
    options_.epilogue = epilogue;
    DeviceMeter meter = make();
    const PlanTask t = task(DType::kI8, DType::kF16);
    const TaskFacts facts = meter.facts(t);
    EXPECT_EQ(facts.missing, "");
    EXPECT_EQ(facts.dense_algorithms, dense_.known_algorithms);
    EXPECT_TRUE(facts.own);
    for (const PlanChoice& choice : {PlanChoice{}, PlanChoice{PlanUse::kDense, {}, 1},
                                     PlanChoice{PlanUse::kOwn, {}}, cutlass(2)}) {
      EXPECT_EQ(error_of(meter, t, choice), "no error") << choice.to_string();
    }
    EXPECT_TRUE(sparse_.plans_made.back().channel_scales);
    EXPECT_NE(sparse_.plans_made.back().bias, nullptr);
    sparse_.wrong_results = true;
    EXPECT_THAT(error_of(meter, t, {}), HasSubstr("wrong result"));
    sparse_.wrong_results = false;
  }
}

TEST_F(MeterTest, ProductsInE4m3) {
  const PlanTask t = task(DType::kF8E4M3, DType::kF16);
  DeviceMeter meter = make();
  const TaskFacts facts = meter.facts(t);
  EXPECT_EQ(facts.sparse_algorithms, sparse_.known_algorithms);
  EXPECT_EQ(facts.dense_algorithms, dense_.known_algorithms);
  EXPECT_FALSE(facts.own);
  for (const PlanChoice& choice : {PlanChoice{}, PlanChoice{PlanUse::kDense, {}, 1}})
    EXPECT_EQ(error_of(meter, t, choice), "no error");
  sparse_.wrong_results = true;
  EXPECT_THAT(error_of(meter, t, {}), HasSubstr("wrong result"));
  runtime_.devices[0].minor = 0;
  runtime_.devices[0].major = 8;
  DeviceMeter older = make();
  EXPECT_EQ(older.facts(t).sparse_algorithms, 0);
  EXPECT_EQ(older.facts(t).dense_algorithms, 0);
}

TEST_F(MeterTest, CopiesOfTheWeightAreFourTimesTheCache) {
  const PlanTask t = task(DType::kI8, DType::kI32);  // 4096 bytes of dense weight
  for (const auto& [l2, copies] : {std::pair{0, 2u}, {5000, 5u}, {100000, 98u}}) {
    runtime_.devices[0].l2_bytes = l2;
    dense_.runs.clear();
    DeviceMeter meter = make();
    meter.measure(t, {PlanUse::kDense, {}, 0});
    std::set<const void*> weights;
    for (const auto& run : dense_.runs) weights.insert(run.weight);
    EXPECT_EQ(weights.size(), copies);
  }
}

TEST_F(MeterTest, RoundsOfSmallProductsGrow) {
  options_.round_ms = 15;  // ten times as long as the stand-in says that two runs take
  DeviceMeter meter = make();
  EXPECT_EQ(meter.measure(task(DType::kI8, DType::kI32), {}).us, 1500.0 / 20);
}

TEST_F(MeterTest, TimesWithoutAGraphSaySo) {
  DeviceMeter meter = make();
  runtime_.failures.next("capture", Status{900});
  const PlanTime time = meter.measure(task(DType::kI8, DType::kI32), {});
  EXPECT_EQ(time.us, 1500.0 / options_.runs);
  EXPECT_EQ(time.no_graph, "cudaStreamBeginCapture failed: status 900");
  EXPECT_EQ(runtime_.launches, 0u);
}

TEST_F(MeterTest, FactsPrepareWhatCandidatesNeed) {
  DeviceMeter meter = make();
  meter.facts(task(DType::kI8, DType::kI32));
  const size_t allocated = runtime_.allocated;
  for (const PlanChoice& choice : {PlanChoice{}, PlanChoice{PlanUse::kDense, {}, 2},
                                   PlanChoice{PlanUse::kOwn, {}}, cutlass(0), cutlass(3)}) {
    meter.measure(task(DType::kI8, DType::kI32), choice);
  }
  EXPECT_EQ(runtime_.allocated, allocated);
  // Other rows of the product need no other weights.
  const size_t compressed = sparse_.made["structured matrix"] + sparse_.made["matrix"];
  meter.facts(task(DType::kI8, DType::kI32, 48));
  EXPECT_EQ(sparse_.made["structured matrix"] + sparse_.made["matrix"], compressed + 3);
}

TEST_F(MeterTest, ALibraryThatCannotPlanIsLeftOut) {
  DeviceMeter meter = make();
  sparse_.failures.next("plan", SparseStatus::kNotSupported);
  const TaskFacts facts = meter.facts(task(DType::kI8, DType::kI32));
  EXPECT_EQ(facts.sparse_algorithms, 0);
  EXPECT_THAT(facts.missing, HasSubstr("cusparseLtMatmulPlanInit"));
  EXPECT_EQ(facts.dense_algorithms, dense_.known_algorithms);
  dense_.failures.next("algorithms", BlasStatus{7});
  EXPECT_THAT(meter.facts(task(DType::kI8, DType::kI32)).missing,
              HasSubstr("cublasLtMatmulAlgoGetHeuristic"));
}

TEST_F(MeterTest, WhatAnEarlierCandidateLeftIsNoResult) {
  DeviceMeter meter = make();
  for (const auto& [input, output] :
       {std::pair{DType::kI8, DType::kI32}, {DType::kF16, DType::kF16}}) {
    sparse_.idle = false;
    EXPECT_EQ(error_of(meter, task(input, output), {}), "no error");
    sparse_.idle = true;
    EXPECT_THAT(error_of(meter, task(input, output), {}), HasSubstr("wrong result: row 0"));
  }
}

TEST_F(MeterTest, WrongResultsAreFound) {
  DeviceMeter meter = make();
  sparse_.wrong_results = true;
  EXPECT_THAT(error_of(meter, task(DType::kI8, DType::kI32), {}), HasSubstr("wrong result: row 0"));
  EXPECT_THAT(error_of(meter, task(DType::kF16, DType::kF16), {}), HasSubstr("wrong result"));
}

TEST_F(MeterTest, ProductsAlone) {
  options_.epilogue = false;
  DeviceMeter meter = make();
  EXPECT_FALSE(meter.facts(task(DType::kI8, DType::kI32)).own);
  EXPECT_TRUE(meter.facts(task(DType::kF16, DType::kF16)).own);
  for (const PlanChoice& choice : {PlanChoice{}, PlanChoice{PlanUse::kDense, {}, 1}}) {
    EXPECT_EQ(error_of(meter, task(DType::kI8, DType::kI32), choice), "no error");
    EXPECT_EQ(error_of(meter, task(DType::kF16, DType::kF16), choice), "no error");
  }
  EXPECT_EQ(error_of(meter, task(DType::kBF16, DType::kBF16), {PlanUse::kOwn, {}}), "no error");
  sparse_.wrong_results = true;
  EXPECT_THAT(error_of(meter, task(DType::kI8, DType::kI32), {}), HasSubstr("wrong result"));
}

TEST_F(MeterTest, ARefusedAlgorithmIsNoChoice) {
  DeviceMeter meter = make();
  const PlanChoice unknown{PlanUse::kSparse, {sparse_.known_algorithms, 1, {}, 0}};
  EXPECT_THAT(error_of(meter, task(DType::kI8, DType::kI32), unknown), HasSubstr("refuses"));
}

TEST_F(MeterTest, HowTheLibrarySplitsKIsTold) {
  DeviceMeter meter = make();
  const PlanTask t = task(DType::kI8, DType::kI32);
  const PlanChoice halves{PlanUse::kSparse, {3, 2, SplitKMode::kTwoKernels, 0}};
  EXPECT_EQ(meter.measure(t, {}).split_k, 1);
  EXPECT_EQ(meter.measure(t, halves).split_k, 2);
  sparse_.own_split_k = 4;
  EXPECT_EQ(meter.measure(t, {}).split_k, 4);
  EXPECT_EQ(meter.measure(t, halves).split_k, 4);
  EXPECT_EQ(meter.measure(t, {PlanUse::kDense, {}, 0}).split_k, 0);
  sparse_.failures.next("get_algorithm", SparseStatus::kNotSupported);
  EXPECT_EQ(meter.measure(t, halves).split_k, 0);
}

TEST_F(MeterTest, ABrokenDeviceIsTold) {
  DeviceMeter meter = make();
  const PlanTask t = task(DType::kI8, DType::kI32);
  EXPECT_EQ(error_of(meter, t, {}), "no error");
  sparse_.failures.next("matmul", SparseStatus::kExecutionFailed);
  EXPECT_THAT(error_of(meter, t, {}), HasSubstr("[cuSPARSELt]"));
  sparse_.failures.next("matmul", SparseStatus::kExecutionFailed);
  runtime_.failures.next("synchronize", Status{715});
  EXPECT_THAT(error_of(meter, t, {}), HasSubstr("lost: [plan]"));
}

}  // namespace
}  // namespace twofour::cuda
