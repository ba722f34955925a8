#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>

#include "twofour/base/aligned_buffer.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/dtype.h"
#include "twofour/base/error.h"
#include "twofour/base/nearest_name.h"
#include "twofour/base/random.h"
#include "twofour/base/tensor.h"
#include "twofour/base/thread_pool.h"

namespace twofour {
namespace {

TEST(Error, NamesPlaceMessageAndRemedy) {
  EXPECT_STREQ(Error("a.tsv", "no rows").what(), "[a.tsv] no rows");
  EXPECT_STREQ(Error("a.tsv", "no rows", "Add one").what(), "[a.tsv] no rows. Add one");
}

TEST(Error, HasPartsThatCanBeToldAgain) {
  for (const char* remedy : {"", "Add one"}) {
    const Error error("a.tsv", "no rows", remedy);
    EXPECT_EQ(error.where(), "a.tsv");
    EXPECT_EQ(error.message(), "no rows");
    EXPECT_EQ(error.remedy(), remedy);
  }
}

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::kF64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype);
  }
  EXPECT_FALSE(parse_dtype("F12").has_value());
}

TEST(DType, EveryHalfRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (std::isnan(f16_to_f32(half))) continue;
    EXPECT_EQ(f32_to_f16(f16_to_f32(half)), half);
    if (std::isnan(bf16_to_f32(half))) continue;
    EXPECT_EQ(f32_to_bf16(bf16_to_f32(half)), half);
  }
}

TEST(DType, EveryE4m3RoundTrips) {
  for (uint32_t bits = 0; bits < 0x100; ++bits) {
    const auto code = static_cast<uint8_t>(bits);
    const float value = e4m3_to_f32(code);
    EXPECT_EQ(std::isnan(value), (code & 0x7f) == 0x7f);
    EXPECT_EQ(f32_to_e4m3(value) & 0x7f, code & 0x7f);
    if (std::isnan(value)) continue;
    EXPECT_EQ(f32_to_e4m3(value), code);
    // Halfway to the next one, the even one is taken; just beside it the nearer.
    if ((code & 0x7f) == 0x7e) continue;
    const float next = e4m3_to_f32(code + 1), tie = (value + next) / 2;
    EXPECT_EQ(f32_to_e4m3(tie), code % 2 == 0 ? code : code + 1);
    EXPECT_EQ(f32_to_e4m3(std::nextafter(tie, value)), code);
    EXPECT_EQ(f32_to_e4m3(std::nextafter(tie, next)), code + 1);
  }
}

TEST(DType, NarrowingRoundsToNearestEven) {
  EXPECT_EQ(e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(e4m3_to_f32(0x81), -std::ldexp(1.0f, -9));
  EXPECT_EQ(f32_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // tie, even below
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // tie, even above
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(std::ldexp(1.0f, -25)), 0);  // tie with zero
}

TEST(Tensor, ConvertsUnalignedHalves) {
  alignas(2) std::byte raw[5] = {std::byte{0}, std::byte{0x80}, std::byte{0x3f}, std::byte{0},
                                 std::byte{0x40}};
  const Tensor out = to_f32({DType::kBF16, {2}, raw + 1}, "t");
  EXPECT_EQ(out.as<float>()[0], 1.0f);
  EXPECT_EQ(out.as<float>()[1], 2.0f);
}

TEST(Tensor, RefusesIntegers) {
  const Tensor ints(DType::kI8, {2});
  EXPECT_THROW(to_f32(ints, "w"), Error);
}

TEST(AlignedBuffer, IsAligned) {
  for (size_t bytes : {1, 63, 4097}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(AlignedBuffer(bytes).data()) % AlignedBuffer::kAlignment,
              0u);
  }
}

TEST(ThreadPool, RunsEachIndexOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t count : {0, 1, 7, 1000}) {
      std::vector<std::atomic<int>> hits(count);
      pool.parallel_for(count, [&](int64_t i, int thread) {
        EXPECT_LT(thread, threads);
        hits[i].fetch_add(1);
      });
      for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
    }
  }
}

TEST(ThreadPool, RefusesNoThread) { EXPECT_THROW(ThreadPool(0), Error); }

TEST(ThreadPool, ThreadsThatTheSystemRefusesAreAnError) {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  rlimit little = before;
  little.rlim_cur = pages * sysconf(_SC_PAGESIZE) + (64 << 20);  // stacks of a few threads
  ASSERT_EQ(setrlimit(RLIMIT_AS, &little), 0);
  std::string message;
  try {
    ThreadPool pool(256);
  } catch (const Error& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_AS, &before);
  EXPECT_THAT(message, testing::HasSubstr("256 threads cannot be started"));
}

TEST(NearestName, IsCloseOrNone) {
  const std::vector<std::string> names = {"train", "prune", "predict"};
  EXPECT_EQ(nearest_name("trian", names), "train");
  EXPECT_EQ(nearest_name("predcit", names), "predict");
  EXPECT_EQ(nearest_name("tune", names), std::nullopt);  // half of it: prune
  EXPECT_EQ(nearest_name("sparsify", names), std::nullopt);
  EXPECT_EQ(nearest_name("train", {}), std::nullopt);
}

TEST(CpuFeatures, AvxLevelsImplyEachOther) {
  const CpuFeatures& f = cpu_features();
  EXPECT_TRUE(f.avx512 || !f.avx512_vnni);
  EXPECT_TRUE(f.avx2 || !f.avx512);
  EXPECT_GE(available_cores(), 1);
  EXPECT_FALSE(cpu_name().empty());
}

TEST(CpuFeatures, LevelsLeaveWhatIsBetterOut) {
  CpuFeatures all;
  all.avx2 = all.avx_vnni = all.avx512 = all.avx512_vnni = all.avx512_vbmi = all.avx512_vbmi2 =
      all.avx512_bf16 = all.amx_int8 = all.amx_bf16 = true;
  EXPECT_THAT(limit_features(all, "portable").names(), testing::IsEmpty());
  EXPECT_THAT(limit_features(all, "avx2").names(), testing::ElementsAre("avx2"));
  EXPECT_THAT(limit_features(all, "avx512").names(),
              testing::ElementsAre("avx2", "avx_vnni", "avx512"));
  EXPECT_EQ(limit_features(all, "amx").names(), all.names());
  EXPECT_FALSE(limit_features(all, "avx512_bf16").amx_int8);
  EXPECT_THAT(limit_features({}, "amx").names(), testing::IsEmpty());
  try {
    limit_features(all, "sse9");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::HasSubstr("[TWOFOUR_MAX_ISA] no instruction set is named 'sse9'. There "
                                   "are: portable, avx2"));
  }
}

TEST(Random, SplitMixGivesThePublishedNumbers) {
  uint64_t state = 0;
  EXPECT_EQ(split_mix(state), 0xe220a8397b1dcdafu);
  EXPECT_EQ(split_mix(state), 0x6e789e6aa1b965f4u);
}

TEST(AvailableCores, QuotaOfAControlGroup) {
  EXPECT_EQ(cores_of_quota("max 100000"), 0);
  EXPECT_EQ(cores_of_quota("-1 100000"), 0);
  EXPECT_EQ(cores_of_quota(""), 0);
  EXPECT_EQ(cores_of_quota(" "), 0);
  EXPECT_EQ(cores_of_quota("50000 100000"), 1);
  EXPECT_EQ(cores_of_quota("350000 100000"), 3);
  EXPECT_GE(available_cores(), 1);
}

}  // namespace
}  // namespace twofour
