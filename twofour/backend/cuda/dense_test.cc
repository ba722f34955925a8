#include "twofour/backend/cuda/dense.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "twofour/backend/cuda/testing.h"
#include "twofour/backend/cuda/testing_dense.h"
#include "twofour/base/testing.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

constexpr int64_t kN = 12, kK = 20;

ProductDesc product(DType input, DType output) {
  return {kN, kK, input, output, std::nullopt, nullptr, false};
}

std::string reason(const ProductDesc& p) { return dense_rejects(p).value_or(""); }

TEST(DenseProduct, Types) {
  for (DType same : {DType::kF32, DType::kF16, DType::kBF16})
    EXPECT_EQ(reason(product(same, same)), "");
  EXPECT_EQ(reason(product(DType::kI8, DType::kI32)), "");
  EXPECT_EQ(reason(product(DType::kI8, DType::kI8)), "");
  EXPECT_THAT(reason(product(DType::kI8, DType::kF16)), HasSubstr("I8 inputs do not give F16"));
  EXPECT_THAT(reason(product(DType::kF16, DType::kF32)), HasSubstr("F16 inputs do not give F32"));
  EXPECT_THAT(reason(product(DType::kF64, DType::kF64)), HasSubstr("F64 inputs"));
}

TEST(DenseProduct, Dimensions) {
  ProductDesc p = product(DType::kI8, DType::kI32);
  p.n = 6;
  EXPECT_THAT(reason(p), HasSubstr("n is 6, expected a multiple of 4 for I8"));
  p = product(DType::kF16, DType::kF16);
  p.n = 3;
  EXPECT_EQ(reason(p), "");
  p.k = 0;
  EXPECT_THAT(reason(p), HasSubstr("k is 0"));
  p = product(DType::kF8E4M3, DType::kF16);
  EXPECT_THAT(reason(p), HasSubstr("n is 12, expected a multiple of 16"));
}

TEST(DenseProduct, Epilogues) {
  const float bias = 0;
  ProductDesc p = product(DType::kF16, DType::kF16);
  p.bias = &bias;
  for (ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kGeluTanh}) {
    p.activation = kind;
    EXPECT_EQ(reason(p), "");
  }
  p.activation = ActivationKind::kGelu;
  EXPECT_THAT(reason(p), HasSubstr("cuBLASLt has no gelu"));
  p.activation.reset();
  p.channel_scales = true;
  EXPECT_THAT(reason(p), HasSubstr("does not scale by channel"));
  p = product(DType::kI8, DType::kI32);
  p.bias = &bias;
  EXPECT_THAT(reason(p), HasSubstr("no epilogue for I8"));
}

TEST(DenseProduct, DevicesThatCannot) {
  const DeviceProperties turing{"T4", 7, 5, 0, 0}, ampere{"A100", 8, 0, 0, 0};
  EXPECT_EQ(dense_rejects(product(DType::kF16, DType::kF16), turing), std::nullopt);
  EXPECT_THAT(dense_rejects(product(DType::kBF16, DType::kBF16), turing).value(),
              HasSubstr("products in BF16 need 8.0"));
  ProductDesc fp8{16, 32, DType::kF8E4M3, DType::kF16, std::nullopt, nullptr, false};
  EXPECT_THAT(dense_rejects(fp8, ampere).value(), HasSubstr("need 8.9"));
}

class DenseTest : public testing::Test {
 protected:
  DenseCache make(size_t max_plans = 8) {
    DenseOptions options;
    options.max_plans = max_plans;
    options.table = table_;
    return DenseCache(library_, runtime_, options);
  }

  void TearDown() override {
    EXPECT_EQ(library_.violations, "");
    EXPECT_EQ(library_.alive(), 0u);
  }

  FakeRuntime runtime_;
  FakeCublasLt library_{runtime_};
  PlanTable table_;
  DenseScratch scratch_;
};

std::vector<int8_t> bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int8_t> out(count);
  for (int8_t& value : out) value = static_cast<int8_t>(random());
  return out;
}

TEST_F(DenseTest, Int8SumsAreExact) {
  DenseCache cache = make();
  const auto x = bytes(5 * kK, 1), w = bytes(kN * kK, 2);
  std::vector<int32_t> y(5 * kN + 1, 77);
  matmul_dense(cache, product(DType::kI8, DType::kI32), {5, x.data(), w.data(), y.data(), 1}, 0,
               nullptr, scratch_);
  for (int64_t row = 0; row < 5; ++row) {
    for (int64_t column = 0; column < kN; ++column) {
      int32_t sum = 0;
      for (int64_t i = 0; i < kK; ++i) sum += x[row * kK + i] * w[column * kK + i];
      ASSERT_EQ(y[row * kN + column], sum);
    }
  }
  EXPECT_EQ(y.back(), 77);
}

TEST_F(DenseTest, ScalesAddsBiasAndActivates) {
  DenseCache cache = make();
  const std::vector<float> x(2 * kK, 0.5f), w(kN * kK, 1.0f);
  std::vector<float> bias(kN), y(2 * kN);
  for (int64_t i = 0; i < kN; ++i) bias[i] = static_cast<float>(i) - 25;
  ProductDesc p = product(DType::kF32, DType::kF32);
  p.bias = bias.data();
  p.activation = ActivationKind::kRelu;
  matmul_dense(cache, p, {2, x.data(), w.data(), y.data(), 2}, 0, nullptr, scratch_);
  for (int64_t i = 0; i < kN; ++i) EXPECT_EQ(y[kN + i], std::max(0.0f, 20 + bias[i]));
}

TEST_F(DenseTest, IntegerResultsTakeNoScale) {
  DenseCache cache = make();
  const auto x = bytes(kK, 1), w = bytes(kN * kK, 2);
  std::vector<int32_t> y(kN);
  EXPECT_THAT(error_of([&] {
                matmul_dense(cache, product(DType::kI8, DType::kI32),
                             {1, x.data(), w.data(), y.data(), 0.5f}, 0, nullptr, scratch_);
              }),
              HasSubstr("alpha is 0.5, expected 1 for I32 results"));
}

TEST_F(DenseTest, PlansAreMadeOnceForEveryPartOfTheKey) {
  DenseCache cache = make();
  for (int round = 0; round < 2; ++round) {
    cache.plan(product(DType::kI8, DType::kI32), 5, 0);
    cache.plan(product(DType::kI8, DType::kI32), 6, 0);
    cache.plan(product(DType::kF16, DType::kF16), 5, 0);
    cache.plan(product(DType::kF16, DType::kF16), 5, 1);
  }
  EXPECT_EQ(library_.searches, 4);
  EXPECT_EQ(cache.size(0), 3u);
  EXPECT_EQ(cache.size(1), 1u);
}

TEST_F(DenseTest, TheLeastRecentlyUsedGoesFirst) {
  DenseCache cache = make(2);
  const ProductDesc p = product(DType::kF16, DType::kF16);
  cache.plan(p, 1, 0);
  cache.plan(p, 2, 0);
  cache.plan(p, 1, 0);  // now 2 is the oldest
  cache.plan(p, 3, 0);
  EXPECT_EQ(library_.searches, 3);
  cache.plan(p, 1, 0);
  EXPECT_EQ(library_.searches, 3);
  cache.plan(p, 2, 0);
  EXPECT_EQ(library_.searches, 4);
}

TEST_F(DenseTest, PlansThatAreHeldStay) {
  DenseCache cache = make(1);
  const ProductDesc p = product(DType::kF16, DType::kF16);
  const auto held = cache.plan(p, 1, 0);
  cache.plan(p, 2, 0);
  cache.plan(p, 3, 0);
  EXPECT_EQ(cache.size(0), 2u);
  EXPECT_EQ(cache.plan(p, 1, 0), held);
  EXPECT_EQ(library_.searches, 3);
  cache.reserve(4);
  cache.plan(p, 4, 0);
  EXPECT_EQ(cache.size(0), 3u);
}

TEST_F(DenseTest, RunsTheAlgorithmThatASearchFound) {
  library_.workspace = 640;
  const ProductDesc p = product(DType::kI8, DType::kI32);
  table_.set(p, 16, {PlanUse::kDense, {}, 1});
  table_.set(p, 32, {PlanUse::kDense, {}, 99});  // of another version of the library
  table_.set(p, 48, {PlanUse::kSparse, {}, 1});
  DenseCache cache = make();
  const auto x = bytes(40 * kK, 1), w = bytes(kN * kK, 2);
  std::vector<int32_t> y(40 * kN);
  for (int64_t m : {9, 17, 40}) {
    matmul_dense(cache, p, {m, x.data(), w.data(), y.data(), 1}, 0, nullptr, scratch_);
  }
  ASSERT_EQ(library_.runs.size(), 3u);
  EXPECT_EQ(library_.runs[0].algorithm, 1u);
  EXPECT_EQ(library_.runs[0].workspace, scratch_.workspace.data());
  EXPECT_EQ(scratch_.workspace.size(), 640u);
  EXPECT_EQ(library_.runs[1].algorithm, 0u);
  EXPECT_EQ(library_.runs[1].workspace, nullptr);
  EXPECT_EQ(library_.runs[2].algorithm, 0u);
}

TEST_F(DenseTest, SumsOfAProductThatScalesHaveItsAlgorithm) {
  const ProductDesc sums = product(DType::kI8, DType::kI32);
  for (const DType output : {DType::kF16, DType::kBF16})
    EXPECT_EQ(dense_part(product(DType::kI8, output)), sums);
  EXPECT_EQ(dense_part(product(DType::kF16, DType::kF16)), product(DType::kF16, DType::kF16));
  table_.set(product(DType::kI8, DType::kF16), 16, {PlanUse::kDense, {}, 2});
  table_.set(product(DType::kI8, DType::kBF16), 32, {PlanUse::kDense, {}, 3});
  table_.set(product(DType::kI8, DType::kF16), 48, {PlanUse::kDense, {}, 2});
  table_.set(sums, 48, {PlanUse::kDense, {}, 4});
  const DenseCache cache = make();
  EXPECT_EQ(cache.rank(sums, 16), 2);
  EXPECT_EQ(cache.rank(sums, 32), 3);
  EXPECT_EQ(cache.rank(sums, 48), 4);  // its own goes first
  EXPECT_EQ(cache.rank(product(DType::kF16, DType::kF16), 16), 0);
}

TEST_F(DenseTest, AFailureAtAnyStepLeavesNothingBehind) {
  for (const char* call :
       {"create", "create_layout", "create_matmul", "set_epilogue", "algorithms"}) {
    DenseCache cache = make();
    const ProductDesc p = product(DType::kF16, DType::kF16);
    library_.failures.next(call, BlasStatus::kInternalError);
    EXPECT_THAT(error_of([&] { cache.plan(p, 16, 0); }), HasSubstr("failed: status 14")) << call;
    EXPECT_NE(cache.plan(p, 16, 0), nullptr) << call;
  }
}

TEST_F(DenseTest, RefusesWithAReason) {
  DenseCache cache = make();
  EXPECT_THAT(error_of([&] { cache.plan(product(DType::kI8, DType::kF16), 16, 0); }),
              HasSubstr("I8 [12, 20] -> F16: I8 inputs do not give F16"));
  EXPECT_THAT(error_of([&] { cache.plan(product(DType::kF16, DType::kF16), 0, 0); }),
              HasSubstr("m is 0"));
  EXPECT_THAT(error_of([&] { make(0); }), HasSubstr("max_plans 0"));
  library_.known_algorithms = 0;
  EXPECT_THAT(error_of([&] { cache.plan(product(DType::kF16, DType::kF16), 4, 0); }),
              HasSubstr("[cuBLASLt] has no algorithm for F16 [12, 20] -> F16 with 4 rows"));
}

TEST_F(DenseTest, ThreadsShareThePlans) {
  DenseCache cache = make();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int64_t m = 1; m < 5; ++m) cache.plan(product(DType::kF16, DType::kF16), m, 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(library_.searches, 4);
}

}  // namespace
}  // namespace twofour::cuda
