#include "twofour/backend/cuda/spmm24.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "twofour/backend/cuda/testing.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kN = 32, kK = 64;
constexpr ProductDesc kProduct{kN, kK, DType::kI8, DType::kI32, std::nullopt, nullptr, false};
constexpr int32_t kUntouched = 123456789;

TEST(SplitRows, OneBucketWhereThereIsRoom) {
  EXPECT_THAT(split_rows(Buckets::every_16(128), 100, 112),
              ElementsAre(RowSegment{0, 100, 112, false}));
  EXPECT_THAT(split_rows(Buckets::of({16, 64, 256}), 70, 256),
              ElementsAre(RowSegment{0, 70, 256, false}));
}

TEST(SplitRows, StagesOnlyTheTail) {
  EXPECT_THAT(split_rows(Buckets::every_16(128), 100, 100),
              ElementsAre(RowSegment{0, 96, 96, false}, RowSegment{96, 4, 16, true}));
  EXPECT_THAT(split_rows(Buckets::every_16(128), 96, 96),
              ElementsAre(RowSegment{0, 96, 96, false}));
  EXPECT_THAT(split_rows(Buckets::every_16(128), 5, 15), ElementsAre(RowSegment{0, 5, 16, true}));
  EXPECT_THAT(split_rows(Buckets::of({16, 64, 256}), 100, 120),
              ElementsAre(RowSegment{0, 64, 64, false}, RowSegment{64, 16, 16, false},
                          RowSegment{80, 16, 16, false}, RowSegment{96, 4, 16, false}));
}

TEST(SplitRows, MoreRowsThanTheLargestBucket) {
  EXPECT_THAT(split_rows(Buckets::of({16, 64}), 150, 150),
              ElementsAre(RowSegment{0, 64, 64, false}, RowSegment{64, 64, 64, false},
                          RowSegment{128, 16, 16, false}, RowSegment{144, 6, 16, true}));
}

TEST(SplitRows, CoversEveryRowOnceWithinTheRoom) {
  for (const Buckets& buckets : {Buckets::every_16(96), Buckets::of({32, 48, 256})}) {
    for (int64_t m = 1; m < 600; ++m) {
      for (int64_t room : {m, m + 1, m + 15, m + 300}) {
        int64_t next = 0;
        for (const RowSegment& s : split_rows(buckets, m, room)) {
          ASSERT_EQ(s.first, next);
          ASSERT_LE(s.rows, s.bucket);
          if (s.staged)
            ASSERT_LT(s.rows, buckets.smallest());
          else
            ASSERT_LE(s.first + s.bucket, room);
          next += s.rows;
        }
        ASSERT_EQ(next, m);
      }
    }
  }
  EXPECT_THROW(split_rows(Buckets::every_16(16), 0, 5), Error);
  EXPECT_THROW(split_rows(Buckets::every_16(16), 6, 5), Error);
}

std::vector<int8_t> random_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int8_t> values(count);
  for (int8_t& value : values) value = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  return values;
}

// Zeros in the last two of every four.
std::vector<int8_t> random_weight() {
  std::vector<int8_t> weight = random_values(kN * kK, 1);
  for (size_t i = 0; i < weight.size(); ++i) {
    if (i % 4 >= 2) weight[i] = 0;
  }
  return weight;
}

class Spmm24Test : public testing::Test {
 protected:
  // y [room, n], of which rows from m on are not to be looked at.
  std::vector<int32_t> run(int64_t m, int64_t room) {
    // More memory than room, so that what is written beyond it shows.
    std::vector<int32_t> y((room + 64) * kN, kUntouched);
    x_ = random_values(room * kK, 2);
    SpmmArgs args{m, room, x_.data(), weight_.data(), y.data(), &alpha_};
    runtime_.copies.clear();
    library_.products.clear();
    library_.workspaces.clear();
    spmm24(cache_, kProduct, args, 0, nullptr, scratch_);
    for (size_t i = room * kN; i < y.size(); ++i) EXPECT_EQ(y[i], kUntouched);
    return y;
  }

  void expect_product(const std::vector<int32_t>& y, int64_t m) const {
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t column = 0; column < kN; ++column) {
        int32_t sum = 0;
        for (int64_t i = 0; i < kK; ++i) sum += x_[row * kK + i] * dense_[column * kK + i];
        ASSERT_EQ(y[row * kN + column], sum) << row << ' ' << column;
      }
    }
  }

  std::string error_of_compressing(const std::vector<int8_t>& weight) {
    try {
      CompressedWeight(cache_, kProduct, weight.data(), 0, nullptr, "layer.0.weight");
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  FakeRuntime runtime_;
  FakeCusparseLt library_{runtime_};
  PlanCache cache_{library_, runtime_, {Buckets::every_16(64), 16, {}}};
  std::vector<int8_t> dense_ = random_weight();
  CompressedWeight weight_{cache_, kProduct, dense_.data(), 0, nullptr, "layer.0.weight"};
  SpmmScratch scratch_;
  std::vector<int8_t> x_;
  float alpha_ = 1;
};

TEST_F(Spmm24Test, ComputesInPlaceWhereThereIsRoom) {
  const auto y = run(20, 32);
  expect_product(y, 20);
  EXPECT_THAT(library_.products, ElementsAre(32));
  EXPECT_TRUE(runtime_.copies.empty());
}

TEST_F(Spmm24Test, CopiesTheTailAndNoMore) {
  const auto y = run(52, 52);
  expect_product(y, 52);
  EXPECT_THAT(library_.products, ElementsAre(48, 16));
  ASSERT_EQ(runtime_.copies.size(), 2u);
  EXPECT_EQ(runtime_.copies[0].from, x_.data() + 48 * kK);
  EXPECT_EQ(runtime_.copies[0].to, scratch_.x_tail.data());
  EXPECT_EQ(runtime_.copies[0].bytes, size_t{4 * kK});
  EXPECT_EQ(runtime_.copies[1].from, scratch_.y_tail.data());
  EXPECT_EQ(runtime_.copies[1].bytes, size_t{4 * kN * sizeof(int32_t)});
}

TEST_F(Spmm24Test, AnyNumberOfRows) {
  for (int64_t m : {1, 15, 16, 17, 63, 64, 65, 150}) {
    for (int64_t room : {m, m + 7, m + 64}) expect_product(run(m, room), m);
  }
}

TEST_F(Spmm24Test, ScratchGrowsAndIsKept) {
  library_.workspace = 1000;
  run(5, 5);
  const void* workspace = scratch_.workspace.data();
  const size_t allocations = runtime_.allocations();
  run(6, 6);
  EXPECT_THAT(library_.workspaces, ElementsAre(workspace));
  EXPECT_EQ(runtime_.allocations(), allocations);
}

TEST_F(Spmm24Test, GivenMemoryIsAllThatItNeeds) {
  library_.workspace = 100;
  library_.workspace_per_row = 3;
  const size_t tails = 16 * kK + 16 * kN * sizeof(int32_t);
  const size_t bytes = spmm24_workspace_bytes(cache_, kProduct, 40, 0);
  EXPECT_EQ(bytes, tails + 100 + 3 * 48);
  EXPECT_EQ(spmm24_workspace_bytes(cache_, kProduct, 1000, 0), tails + 100 + 3 * 64);
  const DeviceBuffer memory(runtime_, bytes, "workspace");
  const size_t allocations = runtime_.allocations();
  for (const int64_t m : {1, 16, 33, 40}) {
    std::vector<int32_t> y((m + 64) * kN, kUntouched);
    x_ = random_values(m * kK, 2);
    spmm24(cache_, kProduct, {m, m, x_.data(), weight_.data(), y.data(), &alpha_}, 0, nullptr,
           memory.data());
    expect_product(y, m);
    for (size_t i = m * kN; i < y.size(); ++i) ASSERT_EQ(y[i], kUntouched);
  }
  EXPECT_EQ(runtime_.allocations(), allocations);
  std::vector<int32_t> y(5 * kN);
  EXPECT_THROW(spmm24(cache_, kProduct, {5, 5, x_.data(), weight_.data(), y.data(), &alpha_}, 0,
                      nullptr, nullptr),
               Error);
}

// The plan of the largest m need not be the one that needs most.
TEST_F(Spmm24Test, MemoryIsForTheHungriestPlan) {
  library_.workspace = 2000;
  library_.workspace_per_row = size_t{0} - 10;
  EXPECT_EQ(spmm24_workspace_bytes(cache_, kProduct, 40, 0),
            16 * kK + 16 * kN * sizeof(int32_t) + 2000 - 16 * 10);
}

TEST_F(Spmm24Test, PlansCanBeMadeAhead) {
  prepare_spmm24(cache_, kProduct, 52, 52, 0);
  const size_t plans = library_.plans_made.size();
  EXPECT_EQ(plans, 2u);
  run(52, 52);
  EXPECT_EQ(library_.plans_made.size(), plans);
}

TEST_F(Spmm24Test, AllMemoryIsOnTheProductsDevice) {
  library_.workspace = 64;
  const CompressedWeight weight(cache_, kProduct, dense_.data(), 1, nullptr, "w");
  std::vector<int32_t> y(5 * kN);
  const auto x = random_values(5 * kK, 3);
  spmm24(cache_, kProduct, {5, 5, x.data(), weight.data(), y.data(), &alpha_}, 1, nullptr,
         scratch_);
  for (const void* memory : {weight.data(), static_cast<const void*>(scratch_.workspace.data()),
                             static_cast<const void*>(scratch_.x_tail.data()),
                             static_cast<const void*>(scratch_.y_tail.data())}) {
    EXPECT_EQ(runtime_.device_of(memory), 1);
  }
  int current = -1;
  runtime_.current_device(current);
  EXPECT_EQ(current, 0);
}

TEST_F(Spmm24Test, AFailedProductIsAnError) {
  library_.failures.next("matmul", SparseStatus::kExecutionFailed);
  EXPECT_THROW(run(16, 16), Error);
  expect_product(run(16, 16), 16);
}

TEST_F(Spmm24Test, CompressionKeepsOnlyTheResult) {
  const size_t before = runtime_.allocations();
  {
    const CompressedWeight weight(cache_, kProduct, dense_.data(), 0, nullptr, "w");
    EXPECT_EQ(runtime_.allocations(), before + 1);
    EXPECT_EQ(weight.bytes(), size_t{kN * kK});
  }
  EXPECT_EQ(runtime_.allocations(), before);
  EXPECT_EQ(library_.made["matrix"], library_.destroyed["matrix"]);
}

TEST_F(Spmm24Test, RefusesAWeightThatIsNotSparse) {
  std::vector<int8_t> weight = dense_;
  std::fill_n(weight.begin() + 400, 3, int8_t{1});
  EXPECT_THAT(error_of_compressing(weight),
              HasSubstr("[layer.0.weight] more than two of four weights along k are not zero"));
}

TEST_F(Spmm24Test, OutOfMemoryAtCompressionNamesTheWeight) {
  runtime_.free_bytes = 100;
  EXPECT_THAT(error_of_compressing(dense_),
              HasSubstr("[layer.0.weight] needs 2048 bytes on cuda:0, of whose"));
  runtime_.free_bytes = 10000;
  library_.failures.next("compress", SparseStatus::kAllocFailed);
  EXPECT_THAT(error_of_compressing(dense_),
              HasSubstr("[layer.0.weight] no device memory left to compress [32, 64] I8"));
  EXPECT_EQ(error_of_compressing(dense_), "no error");
}

TEST_F(Spmm24Test, CompressionRefusesShapes) {
  ProductDesc product = kProduct;
  product.k = 48;
  try {
    const CompressedWeight refused(cache_, product, dense_.data(), 0, nullptr, "pooler");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("[pooler] k is 48, expected a multiple of 32 for I8"));
  }
}

}  // namespace
}  // namespace twofour::cuda
