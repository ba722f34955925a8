#include "twofour/backend/cuda/plan_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <memory>
#include <thread>

#include "twofour/backend/cuda/testing.h"
#include "twofour/base/testing.h"

namespace twofour::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ProductDesc int8_product(int64_t n = 64, int64_t k = 128) {
  return {n, k, DType::kI8, DType::kI32, std::nullopt, nullptr, false};
}

class PlanCacheTest : public testing::Test {
 protected:
  PlanCache make(size_t max_plans = 8, Buckets buckets = Buckets::every_16(256)) {
    return {library_, runtime_, {std::move(buckets), max_plans, table_}};
  }

  std::vector<int64_t> rows(const std::vector<FakeCusparseLt::PlanRecord>& records) const {
    std::vector<int64_t> rows;
    for (const auto& record : records) rows.push_back(record.input.rows);
    return rows;
  }

  // Every object was destroyed, each once, in an order that the library allows.
  void TearDown() override {
    EXPECT_EQ(library_.violations, "");
    EXPECT_EQ(library_.alive(), 0u);
    EXPECT_EQ(library_.made, library_.destroyed);
  }

  FakeRuntime runtime_;
  FakeCusparseLt library_{runtime_};
  PlanTable table_;
};

TEST(Buckets, TheArticlesTable) {
  const Buckets buckets = Buckets::every_16(100);
  EXPECT_EQ(buckets.limit(), 112);
  for (int64_t m = 1; m <= 112; ++m) {
    EXPECT_EQ(buckets.index_for(m), static_cast<size_t>((m + 15) / 16 - 1));
    EXPECT_GE(buckets.rows(buckets.index_for(m)), m);
    EXPECT_LT(buckets.rows(buckets.index_for(m)), m + 16);
  }
  EXPECT_EQ(Buckets::every_16(16).count(), 1u);
  EXPECT_EQ(Buckets::every_16(17).limit(), 32);
}

TEST(Buckets, ACoarserListGivesTheNextLarger) {
  const Buckets buckets = Buckets::of({16, 64, 256});
  EXPECT_EQ(buckets.rows(buckets.index_for(1)), 16);
  EXPECT_EQ(buckets.rows(buckets.index_for(16)), 16);
  EXPECT_EQ(buckets.rows(buckets.index_for(17)), 64);
  EXPECT_EQ(buckets.rows(buckets.index_for(256)), 256);
  EXPECT_EQ(buckets.index_within(15), std::nullopt);
  EXPECT_EQ(buckets.index_within(16), 0u);
  EXPECT_EQ(buckets.index_within(255), 1u);
  EXPECT_EQ(buckets.index_within(1000), 2u);
}

TEST(Buckets, RefuseWhatIsNoSuchList) {
  EXPECT_THAT(error_of([] { Buckets::of({}); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([] { Buckets::of({16, 24}); }), HasSubstr("24 follows 16"));
  EXPECT_THAT(error_of([] { Buckets::of({32, 16}); }), HasSubstr("16 follows 32"));
  EXPECT_THAT(error_of([] { Buckets::of({32, 32}); }), HasSubstr("32 follows 32"));
  EXPECT_THAT(error_of([] { Buckets::of({0}); }), HasSubstr("0 follows 0"));
  EXPECT_THAT(error_of([] { Buckets::every_16(0); }), HasSubstr("limit is 0"));
  EXPECT_THAT(error_of([] { Buckets::every_16(64).index_for(65); }), HasSubstr("expected 1 to 64"));
  EXPECT_THAT(error_of([] { Buckets::every_16(64).index_for(0); }), HasSubstr("m is 0"));
}

TEST(Product, AlignmentRulesOfEachType) {
  const auto reason = [](DType in, DType out, int64_t n, int64_t k) {
    return rejects(ProductDesc{n, k, in, out, std::nullopt, nullptr, false}).value_or("");
  };
  for (DType half : {DType::kF16, DType::kBF16}) {
    EXPECT_EQ(reason(half, half, 16, 48), "");
    EXPECT_THAT(reason(half, half, 24, 48), HasSubstr("n is 24, expected a multiple of 16"));
    EXPECT_THAT(reason(half, half, 16, 40), HasSubstr("k is 40, expected a multiple of 16"));
  }
  EXPECT_EQ(reason(DType::kI8, DType::kI8, 32, 96), "");
  EXPECT_THAT(reason(DType::kI8, DType::kI8, 48, 96),
              HasSubstr("n is 48, expected a multiple of 32"));
  EXPECT_THAT(reason(DType::kI8, DType::kI8, 32, 48),
              HasSubstr("k is 48, expected a multiple of 32"));
  EXPECT_THAT(reason(DType::kF8E4M3, DType::kF16, 16, 32), HasSubstr("n is 16"));
  EXPECT_THAT(reason(DType::kI8, DType::kI8, 0, 32), HasSubstr("n is 0"));
}

TEST(Product, TypesAndEpilogues) {
  ProductDesc p = int8_product();
  for (DType output : {DType::kI8, DType::kI32, DType::kF16, DType::kBF16}) {
    p.output = output;
    EXPECT_EQ(rejects(p), std::nullopt);
  }
  p.output = DType::kF32;
  EXPECT_THAT(rejects(p).value(), HasSubstr("I8 inputs do not give F32"));
  p.input = DType::kF32;
  EXPECT_THAT(rejects(p).value(), HasSubstr("1:2"));
  p.input = DType::kF64;
  EXPECT_THAT(rejects(p).value(), HasSubstr("F64 is no type of a 2:4 product"));
  p = int8_product();
  p.activation = ActivationKind::kRelu;
  EXPECT_EQ(rejects(p), std::nullopt);
  p.activation = ActivationKind::kGelu;
  EXPECT_THAT(rejects(p).value(), HasSubstr("cuSPARSELt has no"));
  p.activation = ActivationKind::kGeluTanh;
  EXPECT_THAT(rejects(p).value(), HasSubstr("only products from I8 to I8"));
  p.output = DType::kI8;
  EXPECT_EQ(rejects(p), std::nullopt);
}

TEST(Product, DevicesThatCannot) {
  const DeviceProperties turing{"T4", 7, 5, 0, 0}, ampere{"A100", 8, 0, 0, 0},
      ada{"L4", 8, 9, 0, 0};
  ProductDesc p = int8_product();
  EXPECT_THAT(rejects(p, turing).value(), HasSubstr("T4 has compute capability 7.5"));
  EXPECT_EQ(rejects(p, ampere), std::nullopt);
  p.input = DType::kF8E4M3;
  p.output = DType::kF16;
  EXPECT_THAT(rejects(p, ampere).value(), HasSubstr("need 8.9"));
  EXPECT_EQ(rejects(p, ada), std::nullopt);
}

TEST_F(PlanCacheTest, MakesAPlanOnFirstUse) {
  PlanCache cache = make();
  const auto first = cache.plan(int8_product(), 17, 0);
  EXPECT_EQ(first->bucket(), 32);
  EXPECT_EQ(cache.plan(int8_product(), 32, 0), first);
  EXPECT_NE(cache.plan(int8_product(), 33, 0), first);
  EXPECT_THAT(rows(library_.plans_made), ElementsAre(32, 48));
}

TEST_F(PlanCacheTest, DescribesTheOperandsAsTheLibraryWantsThem) {
  PlanCache cache = make();
  cache.plan(int8_product(64, 128), 20, 0);
  const auto& made = library_.plans_made.at(0);
  EXPECT_EQ(made.weight, (MatrixLayout{64, 128, 128, DType::kI8, Order::kRow}));
  EXPECT_EQ(made.input, (MatrixLayout{32, 128, 128, DType::kI8, Order::kRow}));
  EXPECT_EQ(made.output, (MatrixLayout{64, 32, 64, DType::kI32, Order::kColumn}));
}

TEST_F(PlanCacheTest, EveryPartOfTheKeyCounts) {
  PlanCache cache = make(32);
  const float bias = 0;
  std::vector<ProductDesc> products(7, int8_product());
  products[1].n = 96;
  products[2].k = 160;
  products[3].output = DType::kF16;
  products[4].activation = ActivationKind::kRelu;
  products[5].bias = &bias;
  products[6].channel_scales = true;
  for (int round = 0; round < 2; ++round) {
    for (const ProductDesc& product : products) cache.plan(product, 16, 0);
    cache.plan(products[0], 32, 0);
    cache.plan(products[0], 16, 1);
  }
  EXPECT_EQ(library_.plans_made.size(), products.size() + 2);
  EXPECT_EQ(cache.size(0), products.size() + 1);
  EXPECT_EQ(cache.size(1), 1u);
  EXPECT_EQ(library_.plans_made[4].activation, ActivationKind::kRelu);
  EXPECT_EQ(library_.plans_made[5].bias, &bias);
  EXPECT_TRUE(library_.plans_made[6].channel_scales);
  EXPECT_EQ(library_.plans_made.back().device, 1);
}

TEST_F(PlanCacheTest, TheLeastRecentlyUsedGoesFirst) {
  PlanCache cache = make(3);
  for (int64_t m : {16, 32, 48}) cache.plan(int8_product(), m, 0);
  cache.plan(int8_product(), 16, 0);  // now 32 is the oldest
  cache.plan(int8_product(), 64, 0);
  cache.plan(int8_product(), 80, 0);
  EXPECT_THAT(rows(library_.plans_destroyed), ElementsAre(32, 48));
  EXPECT_EQ(cache.size(0), 3u);
  cache.plan(int8_product(), 16, 0);
  EXPECT_THAT(rows(library_.plans_made), ElementsAre(16, 32, 48, 64, 80));
}

TEST_F(PlanCacheTest, AnEvictedPlanLivesWhileItIsHeld) {
  std::shared_ptr<const MatmulPlan> held;
  {
    PlanCache cache = make(1);
    held = cache.plan(int8_product(), 16, 0);
    cache.plan(int8_product(), 32, 0);
    EXPECT_TRUE(library_.plans_destroyed.empty());
  }
  EXPECT_THAT(rows(library_.plans_destroyed), ElementsAre(32));
  EXPECT_EQ(library_.destroyed["handle"], 0);  // the plan needs it
  held.reset();
  EXPECT_THAT(rows(library_.plans_destroyed), ElementsAre(32, 16));
}

TEST_F(PlanCacheTest, PreparesBucketsAheadOfTime) {
  PlanCache cache = make(8, Buckets::of({16, 64, 256}));
  cache.prepare(int8_product(), 40, 0);
  EXPECT_THAT(rows(library_.plans_made), ElementsAre(16, 64));
  cache.plan(int8_product(), 40, 0);
  EXPECT_EQ(library_.plans_made.size(), 2u);
}

TEST_F(PlanCacheTest, EachThreadMakesAPlanOnceWithItsOwnHandle) {
  constexpr int kThreads = 8;
  PlanCache cache = make();
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      for (int round = 0; round < 50; ++round) {
        for (int device : {0, 1}) cache.plan(int8_product(), 16, device);
      }
      start.arrive_and_wait();  // ids of threads that ended would be used again
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(library_.made["handle"], 2 * kThreads);
  EXPECT_EQ(library_.made["plan"], 2 * kThreads);
  std::map<std::pair<std::thread::id, int>, int> plans;
  for (const auto& record : library_.plans_made) ++plans[{record.thread, record.device}];
  EXPECT_EQ(plans.size(), 2u * kThreads);
}

TEST_F(PlanCacheTest, AThreadThatEndsTakesItsPlansAlong) {
  PlanCache cache = make(), other = make();
  cache.plan(int8_product(), 16, 0);
  std::thread([&] {
    for (int device : {0, 1}) cache.plan(int8_product(), 16, device);
    other.plan(int8_product(), 16, 0);
  }).join();
  EXPECT_EQ(library_.made["handle"], 4);
  EXPECT_EQ(library_.destroyed["handle"], 3);
  EXPECT_EQ(library_.destroyed["plan"], 3);
  EXPECT_EQ(cache.size(0), 1u);
}

TEST_F(PlanCacheTest, APlanThatIsHeldOutlivesItsThread) {
  PlanCache cache = make();
  std::shared_ptr<const MatmulPlan> held;
  std::thread([&] {
    held = cache.plan(int8_product(), 16, 0);
    cache.plan(int8_product(), 32, 0);
  }).join();
  EXPECT_THAT(rows(library_.plans_destroyed), ElementsAre(32));
  EXPECT_EQ(library_.destroyed["handle"], 0);
  held.reset();
  EXPECT_EQ(library_.destroyed["handle"], 1);
}

TEST_F(PlanCacheTest, AThreadMayOutliveTheCache) {
  std::unique_ptr<PlanCache> cache(new PlanCache(make()));
  std::barrier step(2);
  std::thread user([&] {
    cache->plan(int8_product(), 16, 0);
    step.arrive_and_wait();
    step.arrive_and_wait();
  });
  step.arrive_and_wait();
  cache.reset();
  EXPECT_EQ(library_.alive(), 0u);
  step.arrive_and_wait();
  user.join();
}

TEST_F(PlanCacheTest, TheCallersDeviceStaysCurrent) {
  PlanCache cache = make();
  runtime_.set_device(0);
  cache.plan(int8_product(), 16, 1);
  int device = -1;
  runtime_.current_device(device);
  EXPECT_EQ(device, 0);
  EXPECT_EQ(library_.plans_made.at(0).device, 1);
}

TEST_F(PlanCacheTest, UsesASavedAlgorithm) {
  const Algorithm saved{3, 2, SplitKMode::kTwoKernels, 1};
  table_.set(int8_product(), 32, {PlanUse::kSparse, saved, 0});
  table_.set(int8_product(), 48, {PlanUse::kDense, {}, 0});
  PlanCache cache = make();
  EXPECT_FALSE(cache.plan(int8_product(), 32, 0)->algorithm_refused());
  cache.plan(int8_product(), 16, 0);
  cache.plan(int8_product(), 48, 0);
  EXPECT_EQ(library_.plans_made[0].algorithm, saved);
  EXPECT_EQ(library_.plans_made[1].algorithm, Algorithm{});
  EXPECT_EQ(library_.plans_made[2].algorithm, Algorithm{});
}

TEST_F(PlanCacheTest, SplitKOfMinusOneIsForHopperAlone) {
  table_.set(int8_product(), 16, {PlanUse::kSparse, {2, -1, {}, 0}, 0});
  PlanCache cache = make();
  cache.plan(int8_product(), 16, 0);
  cache.plan(int8_product(), 16, 1);  // an A100
  EXPECT_EQ(library_.plans_made[0].algorithm.split_k, -1);
  EXPECT_EQ(library_.plans_made[1].algorithm, Algorithm{});
}

TEST_F(PlanCacheTest, FallsBackToTheDefaultAlgorithm) {
  table_.set(int8_product(), 16, {PlanUse::kSparse, {library_.known_algorithms, 1, {}, 0}, 0});
  table_.set(int8_product(), 32, {PlanUse::kSparse, {2, 1, {}, 0}, 0});
  PlanCache cache = make();
  EXPECT_TRUE(cache.plan(int8_product(), 16, 0)->algorithm_refused());
  library_.failures.next("plan", SparseStatus::kNotSupported);  // taken at its word, then no plan
  EXPECT_TRUE(cache.plan(int8_product(), 32, 0)->algorithm_refused());
  for (const auto& made : library_.plans_made) EXPECT_EQ(made.algorithm, Algorithm{});
  EXPECT_EQ(library_.made["selection"], 4);
}

TEST_F(PlanCacheTest, AFailureAtAnyStepLeavesNothingBehind) {
  for (const char* call : {"handle", "structured matrix", "dense matrix", "init_matmul",
                           "set_activation", "selection", "plan"}) {
    PlanCache cache = make();
    ProductDesc product = int8_product();
    product.activation = ActivationKind::kRelu;
    library_.failures.next(call, SparseStatus::kInternalError);
    EXPECT_THAT(error_of([&] { cache.plan(product, 16, 0); }), HasSubstr("status 7")) << call;
    EXPECT_NE(cache.plan(product, 16, 0), nullptr) << call;  // the next attempt succeeds
    EXPECT_EQ(cache.size(0), 1u);
  }
}

TEST_F(PlanCacheTest, RefusesWithAReason) {
  PlanCache cache = make();
  EXPECT_THAT(error_of([&] { cache.plan(int8_product(48), 16, 0); }),
              HasSubstr("I8 [48, 128] -> I32: n is 48, expected a multiple of 32 for I8. Run this "
                        "layer dense"));
  EXPECT_THAT(error_of([&] { cache.plan(int8_product(), 257, 0); }),
              HasSubstr("expected 1 to 256"));
  EXPECT_THAT(error_of([&] { cache.plan(int8_product(), 16, 7); }),
              HasSubstr("cudaSetDevice failed"));
  EXPECT_THAT(error_of([&] { make(0); }), HasSubstr("max_plans is 0"));
  library_.failures.next("handle", SparseStatus::kArchMismatch);
  EXPECT_THAT(error_of([&] { cache.plan(int8_product(), 16, 1); }),
              HasSubstr("compute capability 8.0"));
  EXPECT_EQ(library_.plans_made.size(), 0u);
}

TEST_F(PlanCacheTest, PlansThatAreHeldStay) {
  PlanCache cache = make(1);
  const auto first = cache.plan(int8_product(), 16, 0);
  const auto second = cache.plan(int8_product(), 32, 0);
  EXPECT_EQ(cache.size(0), 2u);
  EXPECT_EQ(cache.plan(int8_product(), 16, 0), first);
  cache.plan(int8_product(), 48, 0);
  cache.plan(int8_product(), 64, 0);  // in place of that of 48 rows
  EXPECT_EQ(cache.size(0), 3u);
  EXPECT_THAT(rows(library_.plans_destroyed), ElementsAre(48));
}

TEST_F(PlanCacheTest, RoomCanBeReserved) {
  PlanCache cache = make(2);
  cache.reserve(3);
  cache.reserve(1);
  for (int i = 1; i <= 4; ++i) cache.plan(int8_product(), 16 * i, 0);
  EXPECT_EQ(cache.size(0), 3u);
}

}  // namespace
}  // namespace twofour::cuda
