#include "twofour/sparse/row_pairing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "twofour/sparse/testing.h"

namespace twofour {
namespace {

MaskResult paired(std::span<const float> saliency, int64_t rows, int64_t cols, int share,
                  NmPattern pattern = {}) {
  return compute_mask("w", saliency, rows, cols,
                      {.pattern = pattern,
                       .sparsity = 1.0 - static_cast<double>(pattern.n) / pattern.m,
                       .share_rows = share,
                       .pairing = RowPairing::kLeastEnergy});
}

double adjacent_loss(std::span<const float> saliency, int64_t rows, int64_t cols, int share,
                     NmPattern pattern = {}) {
  return lost(saliency, compute_mask("w", saliency, rows, cols,
                                     {.pattern = pattern,
                                      .sparsity = 1.0 - static_cast<double>(pattern.n) / pattern.m,
                                      .share_rows = share})
                            .mask);
}

void expect_ordered_partition(const RowSets& sets, int64_t rows, int share) {
  std::vector<int32_t> all;
  for (const auto& set : sets) {
    EXPECT_EQ(set.size(), static_cast<size_t>(share));
    EXPECT_TRUE(std::is_sorted(set.begin(), set.end()));
    all.insert(all.end(), set.begin(), set.end());
  }
  EXPECT_TRUE(std::is_sorted(sets.begin(), sets.end()));
  std::sort(all.begin(), all.end());
  std::vector<int32_t> expected(rows);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

TEST(RowPairing, IsAPartitionNeverWorseThanAdjacentRows) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    for (const int share : {2, 4, 8}) {
      const int64_t rows = share * (1 + seed % 5), cols = 4 * (1 + seed % 7);
      const auto saliency =
          seed % 2 ? gaussian_energy(rows * cols, seed) : small_integers(rows * cols, 3, seed);
      const MaskResult result = paired(saliency, rows, cols, share);
      expect_ordered_partition(result.row_sets, rows, share);
      EXPECT_LE(lost(saliency, result.mask), adjacent_loss(saliency, rows, cols, share));
    }
  }
}

TEST(RowPairing, NearbyRowsStayInTheirWindow) {
  constexpr int64_t kRows = 208, kCols = 64;
  const auto saliency = gaussian_energy(kRows * kCols, 3);
  for (const int share : {2, 4, 8}) {
    const MaskResult result = compute_mask("w", saliency, kRows, kCols,
                                           {.share_rows = share, .pairing = RowPairing::kNearby});
    expect_ordered_partition(result.row_sets, kRows, share);
    for (const auto& set : result.row_sets)
      EXPECT_EQ(set.front() / nearby_window(share), set.back() / nearby_window(share));
    EXPECT_LT(lost(saliency, result.mask), adjacent_loss(saliency, kRows, kCols, share));
    EXPECT_GT(lost(saliency, result.mask),
              lost(saliency, paired(saliency, kRows, kCols, share).mask));
  }
}

TEST(RowPairing, FindsPlantedPartners) {
  // Row i and row i + 16 keep the same two positions of each group, at different strengths.
  constexpr int64_t kRows = 32, kCols = 64;
  std::vector<float> saliency(kRows * kCols, 0.0f);
  std::mt19937 random(2);
  for (int64_t row = 0; row < 16; ++row) {
    for (int64_t c = 0; c < kCols; c += 4) {
      const int a = static_cast<int>(random() % 4),
                b = (a + 1 + static_cast<int>(random() % 3)) % 4;
      for (const int p : {a, b}) {
        saliency[row * kCols + c + p] = static_cast<float>(row + 1);
        saliency[(row + 16) * kCols + c + p] = static_cast<float>(20 - row);
      }
    }
  }
  const MaskResult result = paired(saliency, kRows, kCols, 2);
  EXPECT_EQ(lost(saliency, result.mask), 0);
  for (int32_t row = 0; row < 16; ++row)
    EXPECT_THAT(result.row_sets[row], testing::ElementsAre(row, row + 16));
}

struct Matching {
  double lost = 0;
  std::vector<int32_t> rows;  // partners side by side
};

// By trying all perfect matchings of the rows in `free`.
Matching best_matching(std::span<const double> saliency, int64_t cols,
                       const std::vector<int32_t>& free) {
  if (free.empty()) return {};
  Matching best{std::numeric_limits<double>::infinity(), {}};
  for (size_t i = 1; i < free.size(); ++i) {
    std::vector<int32_t> rest(free.begin() + 1, free.end());
    rest.erase(rest.begin() + static_cast<int64_t>(i) - 1);
    Matching now = best_matching(saliency, cols, rest);
    now.lost += lost_saliency(saliency, cols, {}, {{free[0], free[i]}});
    now.rows.insert(now.rows.end(), {free[0], free[i]});
    if (now.lost < best.lost) best = now;
  }
  return best;
}

constexpr int64_t kFewRows = 8, kFewCols = 16;
Matching best_of_few(std::span<const float> saliency) {
  std::vector<int32_t> rows(kFewRows);
  std::iota(rows.begin(), rows.end(), 0);
  return best_matching(std::vector<double>(saliency.begin(), saliency.end()), kFewCols, rows);
}

TEST(RowPairing, ComesCloseToTheBestMatching) {
  double found = 0, best = 0, adjacent = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const auto saliency = gaussian_energy(kFewRows * kFewCols, seed);
    found += lost(saliency, paired(saliency, kFewRows, kFewCols, 2).mask);
    adjacent += adjacent_loss(saliency, kFewRows, kFewCols, 2);
    best += best_of_few(saliency).lost;
  }
  // Greedy alone leaves 5 % of the possible gain, 2-opt 0.8 %.
  EXPECT_GE(found, best * (1 - 1e-6));
  EXPECT_LT(found, best + 0.02 * (adjacent - best));
}

TEST(RowPairing, FallsBackToAdjacentRows) {
  int missed = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const auto any_order = gaussian_energy(kFewRows * kFewCols, seed);
    std::vector<float> saliency;  // the best partners are neighbours
    for (const int64_t row : best_of_few(any_order).rows) {
      const auto first = any_order.begin() + row * kFewCols;
      saliency.insert(saliency.end(), first, first + kFewCols);
    }
    const double adjacent = adjacent_loss(saliency, kFewRows, kFewCols, 2);
    const std::vector<double> wide(saliency.begin(), saliency.end());
    const RowSets searched = least_energy_sets(wide, kFewRows, kFewCols, {}, 2, kFewRows);
    missed += lost_saliency(wide, kFewCols, {}, searched) > adjacent * (1 + 1e-9);
    EXPECT_LE(lost(saliency, paired(saliency, kFewRows, kFewCols, 2).mask), adjacent);
  }
  EXPECT_GT(missed, 0);
}

TEST(RowPairing, LosesWhatIsKnownForGaussianWeights) {
  constexpr int64_t kRows = 768, kCols = 768;
  const auto saliency = gaussian_energy(kRows * kCols, 11);
  const auto share_lost = [&](int share, RowPairing pairing) {
    return lost_share(
        saliency,
        compute_mask("w", saliency, kRows, kCols, {.share_rows = share, .pairing = pairing}).mask);
  };
  EXPECT_NEAR(share_lost(1, RowPairing::kAdjacent), 0.132, 0.001);
  EXPECT_NEAR(share_lost(2, RowPairing::kAdjacent), 0.208, 0.001);
  EXPECT_NEAR(share_lost(4, RowPairing::kAdjacent), 0.280, 0.001);
  EXPECT_NEAR(share_lost(2, RowPairing::kLeastEnergy), 0.1935, 0.0005);
}

TEST(RowPairing, KnowsOtherPatterns) {
  for (const NmPattern pattern : {NmPattern{1, 4}, NmPattern{4, 8}, NmPattern{1, 2}}) {
    const auto saliency = gaussian_energy(64 * 48, 4);
    const MaskResult result = paired(saliency, 64, 48, 2, pattern);
    EXPECT_LT(lost(saliency, result.mask), 0.97 * adjacent_loss(saliency, 64, 48, 2, pattern));
  }
}

TEST(RowPairing, GenericAndUnrolledCostsAgree) {
  // In 4:8 with an empty half, each group is a 2:4 group twice as far from the next.
  const auto saliency = gaussian_energy(64 * 48, 4);
  std::vector<float> halves(64 * 96, 0.0f);
  for (size_t i = 0; i < saliency.size(); ++i) halves[i / 4 * 8 + i % 4] = saliency[i];
  const RowSets wide =
      least_energy_sets(std::vector<double>(halves.begin(), halves.end()), 64, 96, {2, 8}, 4, 64);
  const RowSets narrow = least_energy_sets(std::vector<double>(saliency.begin(), saliency.end()),
                                           64, 48, {2, 4}, 4, 64);
  EXPECT_EQ(wide, narrow);
}

TEST(RowPairing, DoesNotDependOnScale) {
  const auto saliency = gaussian_energy(64 * 512, 9);
  const RowSets sets = paired(saliency, 64, 512, 2).row_sets;
  // At the larger scale the sum over a row exceeds the range of float.
  for (const float scale : {0x1p-90f, 0x1p+123f}) {
    std::vector<float> scaled = saliency;
    for (float& value : scaled) value *= scale;
    EXPECT_EQ(paired(scaled, 64, 512, 2).row_sets, sets);
  }
}

TEST(RowPairing, StaysTheSameAcrossStages) {
  // Rows are paired for the full pattern whatever the stage asks for.
  const auto saliency = gaussian_energy(64 * 32, 9);
  const auto sets_at = [&](double sparsity) {
    return compute_mask(
               "w", saliency, 64, 32,
               {.sparsity = sparsity, .share_rows = 2, .pairing = RowPairing::kLeastEnergy})
        .row_sets;
  };
  EXPECT_EQ(sets_at(0.25), sets_at(0.5));
  EXPECT_EQ(sets_at(0), sets_at(0.5));
}

TEST(RowPairing, PairsAllZeros) {
  const std::vector<float> zeros(16 * 8, 0.0f);
  expect_ordered_partition(paired(zeros, 16, 8, 4).row_sets, 16, 4);
}

TEST(RowPairing, SplitsTallMatricesIntoBlocks) {
  constexpr int64_t kRows = 4096 + 6;
  const auto saliency = gaussian_energy(kRows * 8, 6);
  const RowSets sets = least_energy_sets(std::vector<double>(saliency.begin(), saliency.end()),
                                         kRows, 8, {}, 2, kRows);
  expect_ordered_partition(sets, kRows, 2);
  for (const auto& set : sets) EXPECT_EQ(set[0] < 4096, set[1] < 4096);
}

}  // namespace
}  // namespace twofour
