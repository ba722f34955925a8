// The kernel for few rows: its packing, indices and arithmetic, run on the host with mma.sp taken
// apart as the PTX ISA describes it, against the plain product.
#include "twofour/backend/cuda/spmm24_mma.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/host_mma_sp.h"
#include "twofour/backend/cuda/random_weight.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/backend/cuda/spmm24_mma_launch.h"
#include "twofour/backend/cuda/spmm24_mma_weight.h"
#include "twofour/base/aligned_buffer.h"
#include "twofour/base/testing.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

constexpr DType kTypes[] = {DType::kI8, DType::kF16, DType::kBF16};

// One value and its nibble, placed by hand: which element of D they reach.
template <class Type>
void expect_reach(int a_lane, int a_register, int meta_lane, uint32_t meta, int b_lane,
                  int b_register, int b_element, int d_lane, int d_index) {
  constexpr bool kByte = Type::kBytes == 1;
  const uint32_t two = kByte ? 2 : f32_to_f16(2), three = kByte ? 3 : f32_to_f16(3);
  HostWarp warp;
  HostWarp::PerLane<MmaSpA> a{};
  HostWarp::PerLane<MmaSpB> b{};
  HostWarp::PerLane<uint32_t> metadata{};
  HostWarp::PerLane<MmaSpD<typename Type::Sum>> d{};
  for (int lane = 0; lane < kLanes; ++lane) metadata[lane] = 0x44444444;
  a[a_lane].registers[a_register] = two;
  metadata[meta_lane] = meta;
  b[b_lane].registers[b_register] = three << (8 * Type::kBytes * b_element);
  multiply_add_sparse<Type, 0>(warp, a, metadata, b, d);
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i)
      ASSERT_EQ(d[lane].values[i], lane == d_lane && i == d_index ? 6 : 0) << lane << ' ' << i;
  }
}

TEST(MmaSp, PlacesOfThePtxIsa) {
  const auto meta = [](int nibble, uint32_t value) {
    return (0x44444444 & ~(15u << (4 * nibble))) | value << (4 * nibble);
  };
  // 16 bits. Row 2, group 1: its first value stands at k = 4 + 2; column 1.
  expect_reach<SparseF16>(2 * 4 + 1, 0, 2 * 4, meta(1, 2 | 3 << 2), 1 * 4 + 3, 0, 0, 2 * 4, 1);
  // Row 10, group 5: the upper half of the second lane's metadata; k = 20 + 1, column 7.
  expect_reach<SparseF16>(2 * 4 + 1, 3, 2 * 4 + 1, meta(4 + 1, 1 | 2 << 2), 7 * 4 + 2, 2, 1,
                          2 * 4 + 3, 3);
  // 8 bits. Row 2, group 2 is the first of lane 1; k = 8 + 1, column 0.
  expect_reach<SparseS8>(2 * 4 + 1, 0, 2 * 4, meta(2, 1 | 3 << 2), 0 * 4 + 2, 0, 1, 2 * 4, 0);
  // Row 10, group 10: the third nibble of lane 3; k = 40 + 2, column 1.
  expect_reach<SparseS8>(2 * 4 + 1, 3, 2 * 4 + 3, meta(2, 2 | 3 << 2), 1 * 4 + 2, 2, 2, 2 * 4, 3);
}

struct Case {
  int64_t m, n, k;
  int64_t x_gap = 0, y_gap = 0;
  bool scales = true, bias = true;
};

const Case kCases[] = {{1, 16, 64},
                       {7, 16, 32},
                       {8, 48, 96},
                       {9, 16, 160, 16, 4},
                       {16, 32, 512, 0, 16},
                       {17, 16, 64},
                       {33, 16, 1088},
                       {64, 32, 64, 32, 8},
                       {5, 16, 64, 0, 0, false},
                       {5, 16, 64, 0, 0, true, false},
                       {0, 16, 64}};

std::byte* bytes_of(AlignedBuffer& buffer) { return buffer.as<std::byte>(); }

// All blocks against the plain product; what lies between and behind the rows stays untouched.
void compare(const Case& c, DType type, DType output, std::optional<ActivationKind> activation) {
  const size_t in = dtype_bytes(type), out = dtype_bytes(output);
  auto weight = random_matrix(type, c.n, c.k, true, 1);
  const auto x = random_matrix(type, c.m, c.k, false, 2);
  if (type == DType::kI8)  // -127 to -128, which files of others may hold
    std::replace(weight.begin(), weight.end(), std::byte{0x81}, std::byte{0x80});
  const Spmm24MmaWeight packed = pack_spmm24_mma("w", type, c.n, c.k, weight.data());
  AlignedBuffer values(packed.values.size()), x_rows((c.m + 1) * (c.k + c.x_gap) * in),
      y((c.m + 1) * (c.n + c.y_gap) * out);
  std::memcpy(values.data(), packed.values.data(), packed.values.size());
  std::memset(x_rows.data(), 0xff, x_rows.size());  // NaN, or -1
  std::memset(y.data(), 0x5a, y.size());
  for (int64_t row = 0; row < c.m; ++row) {
    std::memcpy(bytes_of(x_rows) + row * (c.k + c.x_gap) * in, x.data() + row * c.k * in, c.k * in);
  }
  std::vector<float> scales(c.n), bias(c.n);
  for (int64_t i = 0; i < c.n; ++i) {
    scales[i] = 0.01f * static_cast<float>(i % 5 + 1);
    bias[i] = 0.25f * static_cast<float>(i % 9) - 1;
  }
  Spmm24MmaArgs args{x_rows.data(), values.data(), packed.metadata.data(), c.m,     c.n,
                     c.k,           c.k + c.x_gap, c.n + c.y_gap,          y.data()};
  args.input_scale = 0.125f;
  args.weight_scales = c.scales ? scales.data() : nullptr;
  args.bias = c.bias ? bias.data() : nullptr;
  args.output_scale = 0.5f;
  check_spmm24_mma(type, output, args);
  launch_spmm24_mma(HostLauncher{}, type, output, activation, args);

  std::vector<std::byte> want(c.m * c.n * out);
  ReferenceProduct p{c.m,
                     c.n,
                     c.k,
                     type,
                     output,
                     x.data(),
                     weight.data(),
                     args.input_scale,
                     args.weight_scales,
                     args.bias,
                     activation,
                     args.output_scale,
                     want.data()};
  reference_product(p);
  for (int64_t row = 0; row <= c.m; ++row) {
    for (int64_t column = 0; column < c.n + c.y_gap; ++column) {
      const std::byte* found = bytes_of(y) + (row * (c.n + c.y_gap) + column) * out;
      const std::vector<std::byte> untouched(out, std::byte{0x5a});
      const bool outside = row == c.m || column >= c.n;
      const std::byte* expected = outside ? untouched.data() : &want[(row * c.n + column) * out];
      ASSERT_EQ(std::memcmp(found, expected, out), 0)
          << dtype_name(type) << " m " << c.m << " k " << c.k << ": " << row << ' ' << column;
    }
  }
}

TEST(Spmm24Mma, IsThePlainProduct) {
  for (DType type : kTypes) {
    for (const Case& c : kCases) compare(c, type, type, std::nullopt);
  }
}

TEST(Spmm24Mma, EveryOutputAndActivation) {
  using enum ActivationKind;
  for (DType type : kTypes) {
    for (DType output : kTypes) {
      for (std::optional<ActivationKind> activation :
           {std::optional<ActivationKind>{}, std::optional(kGelu), std::optional(kRelu),
            std::optional(kGeluTanh), std::optional(kTanh)}) {
        compare({3, 16, 64}, type, output, activation);
      }
    }
  }
}

TEST(Spmm24Mma, GroupsAreARearrangement) {
  for (int bytes : {1, 2}) {
    std::vector<int> seen;
    for (int group = 0; group < 16 / bytes; ++group) seen.push_back(spmm24_mma_group(bytes, group));
    std::sort(seen.begin(), seen.end());
    for (int group = 0; group < 16 / bytes; ++group) EXPECT_EQ(seen[group], group);
  }
}

// Where CUTLASS keeps what a warp's lanes load, lane i the word i: the element of `row` and
// `column`, which has the nibbles of 4 groups (uint16, 16 bits; rows of both selectors' tiles) or
// of 8 (uint32, 8 bits). Source: cutlass/util/host_reorder.h, reorder_meta(), whose matrix is
// ColumnMajorInterleaved<2>.
int cutlass_place(int element_bytes, int row, int column) {
  const int tiles = element_bytes == 2 ? 4 : 2;  // of 8 rows
  const int woven = row % 8 * tiles + row / 8;
  return (woven / 2 * 2 + column) * 2 + woven % 2;  // blocks of 2 x 2 are transposed
}

// A tile whose groups have all six patterns: two ones each.
struct PatternTile {
  static constexpr uint32_t kPatterns[] = {0x4, 0x8, 0xc, 0x9, 0xd, 0xe};
  static uint32_t nibble(int row, int group) { return kPatterns[(5 * row + group) % 6]; }

  explicit PatternTile(DType type) : bytes(static_cast<int>(dtype_bytes(type))) {
    const uint16_t one = type == DType::kI8    ? 1
                         : type == DType::kF16 ? f32_to_f16(1)
                                               : f32_to_bf16(1);
    weight.resize(16 * 64 * bytes);
    for (int row = 0; row < 16; ++row) {
      for (int group = 0; group < 16; ++group) {
        for (const uint32_t position : {nibble(row, group) & 3, nibble(row, group) >> 2})
          std::memcpy(&weight[(64 * row + 4 * group + position) * bytes], &one, bytes);
      }
    }
  }

  // Nibbles of `count` operand groups of a chunk of 64 bytes.
  uint32_t element(int row, int chunk, int first, int count) const {
    uint32_t bits = 0;
    for (int i = 0; i < count; ++i) {
      const int group = chunk * 16 / bytes + spmm24_mma_group(bytes, first + i);
      bits |= nibble(row, group) << (4 * i);
    }
    return bits;
  }

  int bytes;
  std::vector<std::byte> weight;
};

TEST(Spmm24Mma, MetadataLiesWhereCutlassHasIt) {
  for (DType type : kTypes) {
    const PatternTile tile(type);
    std::vector<uint32_t> want(kLanes);
    for (int row = 0; row < 16; ++row) {
      for (int half = 0; half < 2; ++half) {
        if (tile.bytes == 1) {
          want[cutlass_place(1, row, half)] = tile.element(row, 0, 8 * half, 8);
          continue;
        }
        for (int selector = 0; selector < 2; ++selector) {
          const int place = cutlass_place(2, 16 * selector + row, half);
          want[place / 2] |= tile.element(row, selector, 4 * half, 4) << (16 * (place % 2));
        }
      }
    }
    EXPECT_EQ(pack_spmm24_mma("w", type, 16, 64, tile.weight.data()).metadata, want)
        << dtype_name(type);
  }
}

TEST(Spmm24Mma, PackingTakesHalfTheBytes) {
  const auto weight = random_matrix(DType::kI8, 32, 128, true, 1);
  const Spmm24MmaWeight packed = pack_spmm24_mma("w", DType::kI8, 32, 128, weight.data());
  EXPECT_EQ(packed.values.size(), size_t{32 * 128 / 2});
  EXPECT_EQ(packed.metadata.size() * 4, size_t{32 * 128 / 8});
}

TEST(Spmm24Mma, PackingRefuses) {
  std::vector<int8_t> weight(16 * 32, 0);
  const auto packing = [&](DType type, int64_t n, int64_t k) {
    return error_of([&] { pack_spmm24_mma("layer.weight", type, n, k, weight.data()); });
  };
  EXPECT_EQ(packing(DType::kI8, 16, 32), "no error");
  EXPECT_THAT(packing(DType::kF32, 16, 32), HasSubstr("[layer.weight] F32 is no type"));
  EXPECT_THAT(packing(DType::kI8, 8, 32), HasSubstr("[8, 32], expected multiples of 16 and 32"));
  EXPECT_THAT(packing(DType::kI8, 16, 16), HasSubstr("[16, 16]"));
  weight[5] = weight[6] = weight[7] = 1;
  EXPECT_THAT(packing(DType::kI8, 16, 32), HasSubstr("layer.weight"));
}

TEST(Spmm24Mma, RefusesWhatTheKernelCannotDo) {
  AlignedBuffer memory(4096);
  Spmm24MmaArgs good{memory.data(), memory.data(), memory.as<uint32_t>(), 2, 16, 32, 32, 16,
                     memory.data()};
  const auto with = [&](const std::function<void(Spmm24MmaArgs&)>& change) {
    Spmm24MmaArgs args = good;
    change(args);
    return error_of([&] { check_spmm24_mma(DType::kI8, DType::kI8, args); });
  };
  EXPECT_EQ(with([](Spmm24MmaArgs&) {}), "no error");
  EXPECT_THAT(error_of([&] { check_spmm24_mma(DType::kF32, DType::kI8, good); }),
              HasSubstr("the input is F32"));
  EXPECT_THAT(error_of([&] { check_spmm24_mma(DType::kI8, DType::kI32, good); }),
              HasSubstr("the output is I32"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.m = 65; }), HasSubstr("m is 65, expected 0 to 64"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.n = 24; }), HasSubstr("n is 24"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.k = 16; }), HasSubstr("k is 16"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.x_stride = 16; }), HasSubstr("rows of x and y"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.x_stride = 40; }), HasSubstr("x is at"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.x = static_cast<const char*>(a.x) + 8; }),
              HasSubstr("x is at"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.y = nullptr; }), HasSubstr("y is at"));
  EXPECT_THAT(with([](Spmm24MmaArgs& a) { a.output_scale = 0; }), HasSubstr("output_scale is 0"));
}

}  // namespace
}  // namespace twofour::cuda
