#include "twofour/sparse/mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <tuple>

#include "twofour/base/checksum.h"
#include "twofour/base/testing.h"
#include "twofour/sparse/testing.h"

namespace twofour {
namespace {

using testing::HasSubstr;

Mask mask_of(std::span<const float> saliency, int64_t rows, int64_t cols,
             const MaskOptions& options = {}) {
  return compute_mask("w", saliency, rows, cols, options).mask;
}

// By trying every subset: the most saliency kept, then the lowest kept indices. Bit p of the result
// is position p.
uint32_t best_pattern(const std::vector<double>& group, int kept) {
  const int m = static_cast<int>(group.size());
  std::tuple<double, std::vector<int>> best{-1, {}};
  uint32_t best_bits = 0;
  for (uint32_t bits = 0; bits < 1u << m; ++bits) {
    if (std::popcount(bits) != kept) continue;
    double sum = 0;
    std::vector<int> indices;
    for (int p = 0; p < m; ++p) {
      if (!(bits >> p & 1)) continue;
      sum += group[p];
      indices.push_back(-p);
    }
    const std::tuple<double, std::vector<int>> now{sum, indices};
    if (now > best) {
      best = now;
      best_bits = bits;
    }
  }
  return best_bits;
}

uint32_t pattern_at(const Mask& mask, int64_t first, int m) {
  uint32_t bits = 0;
  for (int p = 0; p < m; ++p) bits |= static_cast<uint32_t>(mask.keep[first + p]) << p;
  return bits;
}

struct Case {
  NmPattern pattern;
  int dropped;
};
class EveryPattern : public testing::TestWithParam<Case> {};

TEST_P(EveryPattern, EqualsExhaustiveSearch) {
  const auto [pattern, dropped] = GetParam();
  const int m = pattern.m;
  const int64_t cols = 12 * m, rows = 64;
  for (const int below : {2, 4, 1000}) {
    const auto saliency = small_integers(rows * cols, below, 7);
    MaskOptions options{.pattern = pattern, .sparsity = static_cast<double>(dropped) / m};
    const Mask mask = mask_of(saliency, rows, cols, options);
    for (int64_t first = 0; first < rows * cols; first += m) {
      const std::vector<double> group(saliency.begin() + first, saliency.begin() + first + m);
      ASSERT_EQ(pattern_at(mask, first, m), best_pattern(group, m - dropped))
          << "group at " << first;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, EveryPattern,
                         testing::Values(Case{{2, 4}, 2}, Case{{2, 4}, 1}, Case{{2, 4}, 0},
                                         Case{{1, 4}, 3}, Case{{1, 2}, 1}, Case{{4, 8}, 4},
                                         Case{{2, 8}, 5}, Case{{1, 3}, 2}, Case{{4, 4}, 0}));

TEST(ComputeMask, TiesKeepTheLowerIndex) {
  const std::vector<float> equal(8, 1.0f);
  EXPECT_THAT(mask_of(equal, 1, 8).keep, testing::ElementsAre(1, 1, 0, 0, 1, 1, 0, 0));
}

TEST(ComputeMask, SharesBetweenQuartersPruneTheCheapestGroups) {
  // Six groups: enough to try every choice of the groups that lose a second weight.
  constexpr int kGroups = 6;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const auto saliency = small_integers(kGroups * 4, 50, seed);
    for (int extra = 0; extra <= kGroups; ++extra) {
      const MaskOptions options{.sparsity = (kGroups + extra) / (4.0 * kGroups)};
      const Mask mask = mask_of(saliency, 2, 12, options);
      double least = std::numeric_limits<double>::infinity();
      for (uint32_t choice = 0; choice < 1u << kGroups; ++choice) {
        if (std::popcount(choice) != extra) continue;
        double cost = 0;
        for (int g = 0; g < kGroups; ++g) {
          std::vector<float> group(saliency.begin() + 4 * g, saliency.begin() + 4 * g + 4);
          std::sort(group.begin(), group.end());
          cost += group[0] + (choice >> g & 1 ? group[1] : 0.0f);
        }
        least = std::min(least, cost);
      }
      EXPECT_EQ(std::count(mask.keep.begin(), mask.keep.end(), 0), kGroups + extra);
      EXPECT_EQ(lost(saliency, mask), least);
    }
  }
}

TEST(ComputeMask, SharesBetweenQuartersBreakTiesByIndex) {
  const std::vector<float> equal(16, 1.0f);
  EXPECT_THAT(mask_of(equal, 2, 8, {.sparsity = 0.375}).keep,
              testing::ElementsAre(1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0));
}

TEST(ComputeMask, CountsZerosToTheNearest) {
  const auto saliency = gaussian_energy(40 * 100, 3);
  for (const double share : {0.0, 0.001, 0.1, 0.2501, 0.29, 0.3, 0.333, 0.4999, 0.5}) {
    const Mask mask = mask_of(saliency, 40, 100, {.sparsity = share});
    EXPECT_EQ(std::count(mask.keep.begin(), mask.keep.end(), 0), std::llround(share * 4000))
        << share;
    EXPECT_NEAR(mask.sparsity(), share, 0.5 / 4000);
  }
}

TEST(ComputeMask, GrowingSharesNestAndEndAtTheDirectMask) {
  const auto saliency = small_integers(32 * 32, 20, 5);
  Mask before = mask_of(saliency, 32, 32, {.sparsity = 0});
  EXPECT_EQ(before.sparsity(), 0);
  for (const double share : {0.1, 0.25, 0.3, 0.375, 0.45, 0.5}) {
    const Mask free = mask_of(saliency, 32, 32, {.sparsity = share});
    const Mask nested = mask_of(saliency, 32, 32, {.sparsity = share, .within = &before});
    EXPECT_EQ(nested.keep, free.keep) << share;
    before = nested;
  }
}

TEST(ComputeMask, NestingOutweighsSaliency) {
  const Mask within{1, 8, {0, 1, 1, 1, 0, 1, 1, 1}};
  const std::vector<float> saliency = {9, 1, 2, 3, 9, 1, 1, 1};
  EXPECT_THAT(mask_of(saliency, 1, 8, {.sparsity = 0.25, .within = &within}).keep,
              testing::ElementsAre(0, 1, 1, 1, 0, 1, 1, 1));
  EXPECT_THAT(mask_of(saliency, 1, 8, {.within = &within}).keep,
              testing::ElementsAre(0, 0, 1, 1, 0, 1, 1, 0));
  // One of the two groups already has the second zero that 3 of 8 asks for; the other one loses
  // nothing more.
  const Mask uneven{1, 8, {1, 1, 1, 0, 0, 0, 1, 1}};
  EXPECT_THAT(mask_of(saliency, 1, 8, {.sparsity = 0.375, .within = &uneven}).keep,
              testing::ElementsAre(1, 1, 1, 0, 0, 0, 1, 1));
  // A mask that is sparser than asked stays as it is.
  EXPECT_THAT(mask_of(saliency, 1, 8, {.sparsity = 0.0, .within = &uneven}).keep, uneven.keep);
}

TEST(ComputeMask, RandomNestingHoldsWithExactCounts) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const auto first = small_integers(16 * 24, 9, seed),
               second = small_integers(16 * 24, 9, seed + 100);
    const Mask within = mask_of(first, 16, 24, {.sparsity = 0.3});
    const Mask mask = mask_of(second, 16, 24, {.sparsity = 0.45, .within = &within});
    for (size_t i = 0; i < mask.keep.size(); ++i) ASSERT_LE(mask.keep[i], within.keep[i]);
    for (int64_t g = 0; g < 16 * 24; g += 4) ASSERT_GE(std::popcount(pattern_at(mask, g, 4)), 2);
    EXPECT_EQ(std::count(mask.keep.begin(), mask.keep.end(), 0), std::llround(0.45 * 16 * 24));
  }
}

TEST(ComputeMask, SharedRowsGetTheBestCommonPattern) {
  for (const int share : {2, 4, 8, 16, 32}) {
    const int64_t rows = 64, cols = 32;
    const auto saliency = small_integers(rows * cols, 6, share);
    const MaskResult result = compute_mask("w", saliency, rows, cols, {.share_rows = share});
    ASSERT_EQ(result.row_sets.size(), static_cast<size_t>(rows / share));
    for (size_t set = 0; set < result.row_sets.size(); ++set) {
      for (int i = 0; i < share; ++i)
        EXPECT_EQ(result.row_sets[set][i], static_cast<int>(set) * share + i);
      for (int64_t c = 0; c < cols; c += 4) {
        std::vector<double> sum(4, 0.0);
        for (const int64_t row : result.row_sets[set]) {
          for (int p = 0; p < 4; ++p) sum[p] += saliency[row * cols + c + p];
        }
        for (const int64_t row : result.row_sets[set]) {
          ASSERT_EQ(pattern_at(result.mask, row * cols + c, 4), best_pattern(sum, 2));
        }
      }
    }
  }
}

TEST(ComputeMask, SharedRowsNestInUnequalMasks) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const auto saliency = gaussian_energy(16 * 16, seed);
    const Mask within = mask_of(saliency, 16, 16, {.sparsity = 0.25});
    const Mask mask = mask_of(saliency, 16, 16, {.share_rows = 2, .within = &within});
    for (size_t i = 0; i < mask.keep.size(); ++i) ASSERT_LE(mask.keep[i], within.keep[i]);
    for (int64_t row = 0; row < 16; row += 2) {
      for (int64_t c = 0; c < 16; c += 4) {
        const uint32_t joint =
            pattern_at(mask, row * 16 + c, 4) | pattern_at(mask, (row + 1) * 16 + c, 4);
        ASSERT_LE(std::popcount(joint), 2);
      }
    }
  }
  // Row 0 has lost position 3, row 1 position 0. What they lost weighs nothing: 0 and 3 sum to 4, 1
  // and 2 to 6.
  const Mask within{2, 4, {1, 1, 1, 0, 0, 1, 1, 1}};
  const std::vector<float> saliency = {4, 3, 3, 9, 9, 3, 3, 4};
  EXPECT_THAT(mask_of(saliency, 2, 4, {.share_rows = 2, .within = &within}).keep,
              testing::ElementsAre(0, 1, 1, 0, 0, 1, 1, 0));
}

TEST(ComputeMask, ReusesRowSets) {
  const auto saliency = gaussian_energy(8 * 8, 1);
  const RowSets sets = {{0, 7}, {3, 1}, {2, 6}, {4, 5}};
  const MaskResult result = compute_mask("w", saliency, 8, 8, {.share_rows = 2, .row_sets = &sets});
  EXPECT_EQ(result.row_sets, sets);
  for (const auto& set : sets) {
    for (int c = 0; c < 8; ++c)
      EXPECT_EQ(result.mask.keep[set[0] * 8 + c], result.mask.keep[set[1] * 8 + c]);
  }
}

TEST(ComputeMask, LosesWhatTheReferenceSaysOnATrainedMatrix) {
  const auto weights = trained_matrix();
  ASSERT_EQ(weights.size(), 128u * 128);
  std::vector<float> energy(weights.size()), magnitude(weights.size());
  saliency_by_name("energy")(weights, energy);
  saliency_by_name("magnitude")(weights, magnitude);
  // From numpy: groups of four sorted, the two lowest over the whole.
  EXPECT_NEAR(lost_share(energy, mask_of(energy, 128, 128)), 0.1300203, 1e-6);
  EXPECT_NEAR(lost_share(energy, mask_of(energy, 128, 128, {.sparsity = 0.25})), 0.0290458, 1e-6);
  EXPECT_NEAR(lost_share(energy, mask_of(energy, 128, 128, {.share_rows = 2})), 0.2054938, 1e-6);
  EXPECT_NEAR(lost_share(energy, mask_of(energy, 128, 128, {.share_rows = 4})), 0.2744563, 1e-6);
  EXPECT_NEAR(lost_share(magnitude, mask_of(magnitude, 128, 128)), 0.2529898, 1e-6);
  // At r = 1 the two saliencies order weights alike.
  EXPECT_EQ(mask_of(magnitude, 128, 128).keep, mask_of(energy, 128, 128).keep);
}

uint64_t checksum_of(const Mask& mask) {
  return checksum64({reinterpret_cast<const char*>(mask.keep.data()), mask.keep.size()});
}

// A byte for each row: there are 128.
uint64_t checksum_of(const RowSets& sets) {
  std::string rows;
  for (const auto& set : sets) rows.append(set.begin(), set.end());
  return checksum64(rows);
}

// Frozen: GCC 12 and Clang 14 choose these, optimized or not, with AVX2 and FMA or without.
TEST(ComputeMask, IsTheSameOnEveryMachine) {
  struct Frozen {
    int share_rows;
    RowPairing pairing;
    uint64_t mask, row_sets;
  };
  constexpr Frozen kFrozen[] = {
      {1, RowPairing::kAdjacent, 0x9dabcbc58a1f7b41, 0x356c6cc8137514a5},
      {1, RowPairing::kLeastEnergy, 0x9dabcbc58a1f7b41, 0x356c6cc8137514a5},
      {2, RowPairing::kAdjacent, 0x665ab814044044e9, 0x356c6cc8137514a5},
      {2, RowPairing::kLeastEnergy, 0x23d946f2155c1f51, 0x60e6e63f7ca69fe5},
      {4, RowPairing::kAdjacent, 0xddb4b4f128f380d5, 0x356c6cc8137514a5},
      {4, RowPairing::kLeastEnergy, 0x21482e90e3fd7cc5, 0xadd4a81286ff693d},
  };
  const auto weights = trained_matrix();
  ASSERT_EQ(weights.size(), 128u * 128);
  std::vector<float> energy(weights.size());
  saliency_by_name("energy")(weights, energy);
  for (const auto& [share_rows, pairing, mask, row_sets] : kFrozen) {
    const MaskResult result =
        compute_mask("w", energy, 128, 128, {.share_rows = share_rows, .pairing = pairing});
    EXPECT_EQ(checksum_of(result.mask), mask) << "share_rows " << share_rows;
    EXPECT_EQ(checksum_of(result.row_sets), row_sets) << "share_rows " << share_rows;
  }
}

TEST(ComputeMask, RefusesBadSaliency) {
  std::vector<float> saliency(16, 1.0f);
  saliency[13] = -1;
  EXPECT_EQ(error_of([&] { mask_of(saliency, 2, 8); }),
            "[w] saliency at [1, 5] is -1, expected a finite value >= 0");
  saliency[13] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(error_of([&] { mask_of(saliency, 2, 8); }), HasSubstr("saliency at [1, 5] is nan"));
  saliency[13] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(error_of([&] { mask_of(saliency, 2, 8); }), HasSubstr("saliency at [1, 5] is inf"));
}

TEST(ComputeMask, RefusesBadShapes) {
  const std::vector<float> saliency(24, 1.0f);
  EXPECT_EQ(error_of([&] { mask_of(saliency, 2, 8); }),
            "[w] 24 saliency values for a [2, 8] matrix");
  EXPECT_THAT(error_of([&] { mask_of(saliency, -3, -8); }), HasSubstr("for a [-3, -8] matrix"));
  EXPECT_THAT(error_of([&] { mask_of({}, 0, 8); }), HasSubstr("0 saliency values for a [0, 8]"));
  EXPECT_EQ(error_of([&] { mask_of(saliency, 4, 6); }),
            "[w] 6 columns are not divisible by 4. Leave this layer dense");
  EXPECT_EQ(error_of([&] { mask_of(saliency, 3, 8, {.share_rows = 2}); }),
            "[w] 3 rows are not divisible by share_rows 2");
  EXPECT_EQ(error_of([&] { mask_of(saliency, 3, 8, {.share_rows = 3}); }),
            "[w] share_rows is 3, expected 1, 2, 4, 8, 16 or 32");
  const Mask within{2, 8, std::vector<uint8_t>(16, 1)};
  EXPECT_THAT(error_of([&] { mask_of(saliency, 3, 8, {.within = &within}); }),
              HasSubstr("the matrix is [3, 8] but the mask to nest in is [2, 8] with 16 values"));
}

TEST(ComputeMask, RefusesImpossibleOptions) {
  const std::vector<float> saliency(24, 1.0f);
  EXPECT_EQ(error_of([&] { mask_of(saliency, 3, 8, {.sparsity = 0.6}); }),
            "[w] sparsity 0.6 is outside [0, 0.5], the range of 2:4");
  EXPECT_THAT(error_of([&] { mask_of(saliency, 3, 8, {.sparsity = -0.1}); }), HasSubstr("outside"));
  EXPECT_THAT(error_of([&] { mask_of(saliency, 3, 8, {.sparsity = std::nan("")}); }),
              HasSubstr("outside"));
  for (const NmPattern pattern :
       {NmPattern{0, 4}, NmPattern{5, 4}, NmPattern{2, 33}, NmPattern{0, 0}}) {
    EXPECT_THAT(error_of([&] { mask_of(saliency, 3, 8, {.pattern = pattern}); }),
                HasSubstr("is not n:m with 1 <= n <= m <= 32"));
  }
}

TEST(ComputeMask, RefusesRowSetsThatAreNoPartition) {
  const std::vector<float> saliency(32, 1.0f);
  const auto error_with = [&](const RowSets& sets) {
    return error_of([&] { mask_of(saliency, 4, 8, {.share_rows = 2, .row_sets = &sets}); });
  };
  EXPECT_EQ(error_with({{0, 1}, {2, 3, 3}}), "[w] row set 1 has 3 rows, expected 2");
  EXPECT_EQ(error_with({{0, 1}, {1, 2}}), "[w] row 1 of row set 1 is out of range or in two sets");
  EXPECT_EQ(error_with({{0, 1}, {2, 4}}), "[w] row 4 of row set 1 is out of range or in two sets");
  EXPECT_EQ(error_with({{0, -1}, {2, 3}}),
            "[w] row -1 of row set 0 is out of range or in two sets");
  EXPECT_EQ(error_with({{0, 1}}), "[w] row sets hold 2 rows of 4");
}

TEST(Saliency, KnowsItsNames) {
  const std::vector<float> weights = {-2, 0, 3};
  std::vector<float> out(3);
  saliency_by_name("magnitude")(weights, out);
  EXPECT_THAT(out, testing::ElementsAre(2, 0, 3));
  saliency_by_name("energy")(weights, out);
  EXPECT_THAT(out, testing::ElementsAre(4, 0, 9));
  EXPECT_THAT(saliency_names(), testing::ElementsAre("magnitude", "energy"));
  EXPECT_EQ(error_of([] { saliency_by_name("taylor"); }),
            "[saliency] expected one of magnitude, energy, found \"taylor\"");
  std::vector<float> short_out(2);
  EXPECT_EQ(error_of([&] { saliency_by_name("energy")(weights, short_out); }),
            "[saliency] 3 weights but room for 2 values");
}

}  // namespace
}  // namespace twofour
