#include "twofour/sparse/sparse24.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/sparse/testing.h"

namespace twofour {
namespace {

using testing::ElementsAre;

template <class T>
Tensor tensor_of(DType dtype, Shape shape, const std::vector<T>& values) {
  Tensor out(dtype, std::move(shape));
  EXPECT_EQ(out.bytes(), values.size() * sizeof(T));
  std::memcpy(out.data(), values.data(), out.bytes());
  return out;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

void expect_round_trip(const Tensor& dense) {
  const Sparse24Matrix sparse = compress("w", dense);
  EXPECT_EQ(sparse.rows, dense.shape()[0]);
  EXPECT_EQ(sparse.cols, dense.shape()[1]);
  EXPECT_EQ(sparse.values.dtype(), dense.dtype());
  EXPECT_TRUE(same_bytes(expand(sparse), dense));
}

// Every mask of at most two bits, in every pair of neighbours; `one` and `two` are bit patterns of
// non-zero values.
template <class T>
Tensor all_masks(DType dtype, T one, T two) {
  std::vector<T> values;
  int64_t rows = 0;
  for (uint32_t masks = 0; masks < 256; ++masks) {
    if (std::popcount(masks & 15) > 2 || std::popcount(masks >> 4) > 2) continue;
    for (int c = 0; c < 8; ++c) values.push_back(masks >> c & 1 ? (c % 2 ? one : two) : T{0});
    ++rows;
  }
  EXPECT_EQ(rows, 11 * 11);
  return tensor_of(dtype, {rows, 8}, values);
}

TEST(Compress, RoundTripsEveryMaskOfEveryType) {
  expect_round_trip(all_masks<uint32_t>(DType::kF32, 0x3f800001, 0xff7fffff));
  expect_round_trip(all_masks<uint32_t>(DType::kF32, 0x00000001, 0x7fc00001));  // subnormal, NaN
  expect_round_trip(all_masks<uint16_t>(DType::kF16, 0x3c01, 0x8001));
  expect_round_trip(all_masks<uint16_t>(DType::kBF16, 0x3f81, 0xff80));
  expect_round_trip(all_masks<int8_t>(DType::kI8, 127, -128));
}

TEST(Compress, HasTheDocumentedLayout) {
  const Tensor dense = tensor_of<float>(DType::kF32, {2, 8},
                                        {1, 2, 0, 0, 0, 3, 0, 4,  //
                                         0, 0, 0, 0, 0, 0, 5, 0});
  const Sparse24Matrix sparse = compress("w", dense);
  EXPECT_THAT(sparse.values.as<float>(), ElementsAre(1, 2, 3, 4, 0, 0, 0, 5));
  // {0,1} = 0 | 1 << 2, {1,3} = 1 | 3 << 2; filled: {0,1} and {0,2} = 0 | 2 << 2.
  EXPECT_THAT(sparse.metadata.as<uint8_t>(), ElementsAre(0xd4, 0x84));
  EXPECT_EQ(sparse.values.shape(), (Shape{2, 4}));
  EXPECT_EQ(sparse.metadata.shape(), (Shape{2, 1}));
  EXPECT_EQ(sparse.metadata.dtype(), DType::kU8);
}

TEST(Compress, KeepsNegativeZerosThatFindRoom) {
  const Tensor room = tensor_of<float>(DType::kF32, {1, 8}, {0, 0, -0.0f, -0.0f, 7, 0, 0, -0.0f});
  expect_round_trip(room);
  const Tensor crowded =
      tensor_of<float>(DType::kF32, {1, 8}, {-0.0f, 1, 2, 0, -0.0f, -0.0f, -0.0f, 0});
  const Tensor back = expand(compress("w", crowded));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(back.as<float>()[i], crowded.as<float>()[i]);
  EXPECT_FALSE(std::signbit(back.as<float>()[0]));
  EXPECT_TRUE(std::signbit(back.as<float>()[4]));
  EXPECT_FALSE(std::signbit(back.as<float>()[6]));
}

TEST(Compress, RoundTripsATrainedMatrix) {
  std::vector<float> weights = trained_matrix();
  ASSERT_EQ(weights.size(), 128u * 128);
  std::vector<float> energy(weights.size());
  saliency_by_name("energy")(weights, energy);
  const MaskResult result =
      compute_mask("w", energy, 128, 128, {.share_rows = 4, .pairing = RowPairing::kLeastEnergy});
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!result.mask.keep[i]) weights[i] = 0;
  }
  const Tensor dense = tensor_of(DType::kF32, {128, 128}, weights);
  expect_round_trip(dense);
  const SparsityReport report = sparsity_report(dense);
  EXPECT_EQ(report.zeros, 0.5);
  EXPECT_EQ(report.groups_2_4, 1);
  EXPECT_EQ(report.share_rows, 4);
  EXPECT_EQ(find_row_sets(dense, 4), result.row_sets);
}

TEST(Compress, ReadsUnalignedData) {
  const Tensor dense = all_masks<uint32_t>(DType::kF32, 0x3f800001, 0xff7fffff);
  std::vector<std::byte> shifted(dense.bytes() + 1);
  std::memcpy(shifted.data() + 1, dense.data(), dense.bytes());
  const TensorView view{DType::kF32, dense.shape(), shifted.data() + 1};
  EXPECT_TRUE(same_bytes(expand(compress("w", view)), dense));
  EXPECT_EQ(sparsity_report(view).groups_2_4, 1);
}

TEST(Compress, NamesTheGroupThatIsNot24) {
  Tensor dense(DType::kI8, {3, 16});
  std::memset(dense.data(), 0, dense.bytes());
  for (int c = 9; c < 12; ++c) dense.as<int8_t>()[2 * 16 + c] = 1;
  EXPECT_EQ(error_of([&] { compress("encoder.w", dense); }),
            "[encoder.w] not 2:4: the group at [2, 8] has 3 non-zero values");
}

TEST(Compress, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(error_of([] {
              compress("w", Tensor(DType::kF32, {2, 12}));
            }),
            "[w] 12 columns are not divisible by 8. Leave this layer dense");
  EXPECT_EQ(error_of([] {
              compress("w", Tensor(DType::kF32, {2, 2, 8}));
            }),
            "[w] expected a matrix, found shape [2, 2, 8]");
  EXPECT_EQ(error_of([] {
              compress("w", Tensor(DType::kI32, {2, 8}));
            }),
            "[w] expected F32, F16, BF16 or I8, found I32");
}

TEST(Expand, RefusesContradictions) {
  const Tensor dense = all_masks<int8_t>(DType::kI8, 1, 2);
  Sparse24Matrix sparse = compress("w", dense);
  sparse.metadata.as<uint8_t>()[3] = 0x44 | 0x11;
  EXPECT_EQ(error_of([&] { expand(sparse); }),
            "[expand] metadata of group 6 stores positions 1 and 1, expected ascending ones");
  sparse = compress("w", dense);
  sparse.cols = 16;
  EXPECT_EQ(error_of([&] { expand(sparse); }),
            "[expand] values [121, 4] and U8 metadata [121, 1] do not make a [121, 16] matrix");
}

TEST(FindViolation, FindsTheFirst) {
  Tensor dense =
      tensor_of<float>(DType::kF32, {2, 8}, {1, 2, 0, 0, 0, 3, 0, 4, 0, 0, -0.0f, 1, 1, 0, NAN, 2});
  const auto violation = find_violation(dense);
  ASSERT_TRUE(violation.has_value());
  EXPECT_EQ(violation->row, 1);
  EXPECT_EQ(violation->col, 4);
  EXPECT_EQ(violation->nonzero, 3);
  EXPECT_FALSE(find_violation(dense, {4, 8}).has_value());
  EXPECT_TRUE(find_violation(dense, {1, 2}).has_value());
  dense.as<float>()[15] = 0;
  EXPECT_FALSE(find_violation(dense).has_value());
  EXPECT_EQ(error_of([&] {
              find_violation(dense, {2, 3});
            }),
            "[find_violation] 8 columns are not divisible by 3");
  EXPECT_EQ(error_of([&] {
              find_violation(dense, {5, 4});
            }),
            "[find_violation] pattern 5:4 is not n:m with 1 <= n <= m <= 32");
}

TEST(SparsityReport, CountsZerosAndGroups) {
  const Tensor mixed =
      tensor_of<float>(DType::kF32, {2, 8}, {1, 2, 3, 0, 0, 3, 0, 4, 1, 1, 1, 1, -0.0f, 0, 0, 0});
  const SparsityReport report = sparsity_report(mixed);
  EXPECT_EQ(report.zeros, 7.0 / 16);
  EXPECT_EQ(report.groups_2_4, 0.5);
  EXPECT_EQ(report.share_rows, 1);
  const Tensor odd = tensor_of<float>(DType::kF32, {2, 3}, {1, 0, 3, 0, 0, 3});
  EXPECT_EQ(sparsity_report(odd).zeros, 0.5);
  EXPECT_EQ(sparsity_report(odd).groups_2_4, 0);
  EXPECT_EQ(sparsity_report(Tensor(DType::kF32, {0, 8})).zeros, 0);
  EXPECT_THROW(sparsity_report(Tensor(DType::kF64, {1, 8})), Error);
}

// 64 rows in shuffled sets of `share`, each with its own 2:4 pattern over 64 columns; with `holes`,
// one kept value in fifty is zero, as happens in int8.
Tensor shuffled_sets(int share, bool holes) {
  constexpr int64_t kRows = 64, kCols = 64;
  const auto saliency = gaussian_energy(kRows * kCols, 3);
  std::vector<int32_t> order(kRows);
  for (int32_t i = 0; i < kRows; ++i) order[i] = i * 13 % kRows;
  RowSets sets;
  for (int64_t i = 0; i < kRows; i += share)
    sets.emplace_back(order.begin() + i, order.begin() + i + share);
  const Mask mask =
      compute_mask("w", saliency, kRows, kCols, {.share_rows = share, .row_sets = &sets}).mask;
  Tensor out(DType::kI8, {kRows, kCols});
  std::mt19937 random(8);
  for (size_t i = 0; i < mask.keep.size(); ++i) {
    const bool hole = holes && random() % 50 == 0;
    out.as<int8_t>()[i] = mask.keep[i] && !hole ? static_cast<int8_t>(random() % 100 + 1) : 0;
  }
  return out;
}

TEST(RowSets, AreFoundWhereverTheRowsLie) {
  for (const int share : {1, 2, 4, 8, 16, 32}) {
    EXPECT_EQ(sparsity_report(shuffled_sets(share, false)).share_rows, share);
  }
}

TEST(RowSets, AreFoundDespiteZerosAmongKeptValues) {
  for (const int share : {2, 4, 8}) {
    const Tensor matrix = shuffled_sets(share, true);
    EXPECT_EQ(sparsity_report(matrix).share_rows, share);
    const auto sets = find_row_sets(matrix, share);
    ASSERT_TRUE(sets.has_value());
    EXPECT_EQ(sets->size(), 64u / share);
    for (const auto& set : *sets) {
      for (int64_t c = 0; c < 64; c += 4) {
        int joint = 0;
        for (int p = 0; p < 4; ++p) {
          bool used = false;
          for (const int64_t row : set) used |= matrix.as<int8_t>()[row * 64 + c + p] != 0;
          joint += used;
        }
        ASSERT_LE(joint, 2);
      }
    }
  }
}

TEST(RowSets, PutEqualRowsTogetherFirst) {
  // The empty row fits the first; taken in order, it would leave the two equal rows apart.
  const Tensor matrix =
      tensor_of<int8_t>(DType::kI8, {4, 4}, {1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1});
  EXPECT_EQ(find_row_sets(matrix, 2), (RowSets{{0, 2}, {1, 3}}));
}

TEST(RowSets, FitOnePatternTogether) {
  // Any two of these rows fit one pattern, no three do.
  const Tensor matrix =
      tensor_of<int8_t>(DType::kI8, {4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  EXPECT_EQ(find_row_sets(matrix, 2), (RowSets{{0, 1}, {2, 3}}));
  EXPECT_FALSE(find_row_sets(matrix, 4).has_value());
}

TEST(RowSets, AreNotFoundWhereThereAreNone) {
  EXPECT_FALSE(find_row_sets(shuffled_sets(2, false), 4).has_value());
  EXPECT_FALSE(find_row_sets(shuffled_sets(2, false), 128).has_value());
  const Tensor dense = tensor_of<int8_t>(DType::kI8, {2, 4}, {1, 1, 1, 0, 1, 1, 1, 0});
  EXPECT_FALSE(find_row_sets(dense, 2).has_value());
  EXPECT_EQ(error_of([&] { find_row_sets(dense, 0); }),
            "[find_row_sets] share_rows is 0, expected at least 1");
}

}  // namespace
}  // namespace twofour
