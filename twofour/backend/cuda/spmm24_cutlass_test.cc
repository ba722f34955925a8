// The kernels on CUTLASS but for CUTLASS's part: packing, the block's end, what is refused. Whether
// the packing is CUTLASS's is spmm24_cutlass_layouts.cu's business.
#include "twofour/backend/cuda/spmm24_cutlass.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "twofour/backend/cuda/host_spmm24_cutlass.h"
#include "twofour/backend/cuda/random_weight.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/base/aligned_buffer.h"
#include "twofour/base/testing.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

constexpr DType kTypes[] = {DType::kI8, DType::kF16, DType::kBF16};
constexpr CutlassForm kForms[] = {CutlassForm::kSm80, CutlassForm::kSm90};

// Every nibble of the metadata is that of one group, or of none; such are valid too.
TEST(Spmm24Cutlass, MetadataHasAPlaceForEveryGroup) {
  for (CutlassForm form : kForms) {
    for (DType type : kTypes) {
      const int64_t n = 80, k = 256, rows = spmm24_cutlass_rows(form, n);
      const auto weight = random_matrix(type, n, k, true, 1);
      const auto packed = pack_spmm24_cutlass("w", form, type, n, k, weight.data());
      ASSERT_EQ(packed.metadata.size(), static_cast<size_t>(rows * k / 8));
      std::set<int64_t> places;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t group = 0; group < k / 4; ++group) {
          const int64_t at = spmm24_cutlass_nibble(form, type, rows, row, group);
          places.insert(at);
          const int nibble = static_cast<int>(packed.metadata[at / 2]) >> (at % 2 * 4) & 15;
          EXPECT_LT(nibble & 3, nibble >> 2);
          if (row >= n) {
            EXPECT_EQ(nibble, 4);
          }
        }
      }
      EXPECT_EQ(places.size(), static_cast<size_t>(rows * k / 4));
      EXPECT_EQ(*places.rbegin(), rows * k / 4 - 1);
    }
  }
}

TEST(Spmm24Cutlass, PlacesOfMetadata) {
  const auto at = [](CutlassForm form, DType type, int64_t row, int64_t group) {
    return spmm24_cutlass_nibble(form, type, 128, row, group);
  };
  using enum CutlassForm;
  // Elements of 4 groups, columns in pairs; row 8 stands behind row 0, the first of row 1 is 4 on.
  EXPECT_EQ(at(kSm80, DType::kF16, 0, 1), 1);
  EXPECT_EQ(at(kSm80, DType::kF16, 8, 0), 4);   // transposed with the second column of row 0
  EXPECT_EQ(at(kSm80, DType::kF16, 0, 4), 8);   //
  EXPECT_EQ(at(kSm80, DType::kF16, 8, 4), 12);  //
  EXPECT_EQ(at(kSm80, DType::kF16, 1, 0), 4 * 2 * 4);
  EXPECT_EQ(at(kSm80, DType::kF16, 0, 8), 128 * 2 * 4);
  // Elements of 8 groups.
  EXPECT_EQ(at(kSm80, DType::kI8, 8, 0), 8);
  EXPECT_EQ(at(kSm80, DType::kI8, 1, 0), 2 * 2 * 8);
  EXPECT_EQ(at(kSm80, DType::kI8, 0, 16), 128 * 2 * 8);
  // Rows of 128 along k.
  EXPECT_EQ(at(kSm90, DType::kI8, 5, 3), 5 * 32 + 3);
  EXPECT_EQ(at(kSm90, DType::kI8, 0, 32), 128 * 32);
  // Blocks of 16 rows by 32 along k, four of them side by side.
  EXPECT_EQ(at(kSm90, DType::kF16, 0, 3), 3);
  EXPECT_EQ(at(kSm90, DType::kF16, 8, 0), 4);
  EXPECT_EQ(at(kSm90, DType::kF16, 0, 8), 8);
  EXPECT_EQ(at(kSm90, DType::kF16, 1, 0), 32);
  EXPECT_EQ(at(kSm90, DType::kF16, 0, 4), 256);
  EXPECT_EQ(at(kSm90, DType::kF16, 16, 0), 512);
  EXPECT_EQ(at(kSm90, DType::kF16, 64, 0), 2048);
  EXPECT_EQ(at(kSm90, DType::kF16, 0, 32), 128 * 32);
}

template <class Tile>
void expect_every_sum_once(int rows, int tokens) {
  std::set<int> places;
  for (int warp = 0; warp < Tile::kWarps; ++warp) {
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < Tile::kSums; ++i) {
        const int place = Tile::place(warp, lane, i);
        places.insert(place);
        EXPECT_LT(place % Tile::kStride, rows);
        EXPECT_LT(place / Tile::kStride, tokens);
      }
    }
  }
  EXPECT_EQ(places.size(), static_cast<size_t>(rows * tokens));
  // The lanes of a store meet different banks.
  std::set<int> banks;
  for (int lane = 0; lane < kLanes; ++lane) banks.insert(Tile::place(0, lane, 0) % 32);
  EXPECT_EQ(banks.size(), 32u);
}

TEST(Spmm24Cutlass, EverySumOfABlockHasAPlace) {
  expect_every_sum_once<Spmm24CutlassTile<float, 64, 64, 32, 32>>(64, 64);
  expect_every_sum_once<Spmm24CutlassTile<float, 128, 64, 64, 32>>(128, 64);
  expect_every_sum_once<Spmm24CutlassTile<int32_t, 128, 128, 64, 64>>(128, 128);
}

struct Case {
  int64_t m, n, k;
  int64_t x_gap = 0, y_gap = 0;
  bool scales = true, bias = true, token_scales = false, residual = false;
};

const Case kCases[] = {{1, 16, 128},
                       {64, 64, 256},
                       {65, 80, 128, 16, 32},
                       {130, 144, 128, 0, 16},
                       {7, 32, 128, 0, 0, false},
                       {7, 32, 128, 0, 0, true, false},
                       {70, 48, 128, 0, 0, true, true, true},
                       {70, 48, 128, 0, 16, true, true, true, true},
                       {0, 16, 128}};

// Memory of rows with gaps, which NaN or -1 fills.
AlignedBuffer rows_of(const std::vector<std::byte>& tight, int64_t rows, size_t width,
                      size_t stride) {
  AlignedBuffer out((rows + 1) * stride);
  std::memset(out.data(), 0xff, out.size());
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(out.as<std::byte>() + row * stride, tight.data() + row * width, width);
  return out;
}

// A layer with all that it reads.
struct Layer {
  Layer(const Case& c, DType type, DType output)
      : c(c),
        type(type),
        output(output),
        weight(random_matrix(type, c.n, c.k, true, 1)),
        x(random_matrix(type, c.m, c.k, false, 2)),
        residual(random_matrix(output, c.m, c.n, false, 3)) {
    if (type == DType::kI8)  // -127 to -128, which files of others may hold
      std::replace(weight.begin(), weight.end(), std::byte{0x81}, std::byte{0x80});
    for (int64_t i = 0; i < c.n; ++i) {
      scales.push_back(0.01f * static_cast<float>(i % 5 + 1));
      bias.push_back(0.25f * static_cast<float>(i % 9) - 1);
    }
    for (int64_t i = 0; i < c.m; ++i) token_scales.push_back(0.5f + static_cast<float>(i % 3));
  }

  // Row by row, since the plain product knows neither tokens' scales nor a residual.
  std::vector<std::byte> expected(std::optional<ActivationKind> activation) const {
    const size_t out = dtype_bytes(output);
    std::vector<std::byte> want(c.m * c.n * out);
    for (int64_t row = 0; row < c.m; ++row) {
      const DType stored = c.residual ? DType::kF32 : output;
      std::vector<std::byte> y(c.n * dtype_bytes(stored));
      const float alpha = c.token_scales ? kInputScale * token_scales[row] : kInputScale;
      reference_product({1, c.n, c.k, type, stored, &x[row * c.k * dtype_bytes(type)],
                         weight.data(), alpha, c.scales ? scales.data() : nullptr,
                         c.bias ? bias.data() : nullptr, activation, kOutputScale, y.data()});
      if (c.residual) y = added(y, row);
      std::copy(y.begin(), y.end(), want.begin() + row * c.n * static_cast<int64_t>(out));
    }
    return want;
  }

  std::vector<std::byte> added(const std::vector<std::byte>& values, int64_t row) const {
    std::vector<std::byte> out(c.n * 2);
    for (int64_t i = 0; i < c.n; ++i) {
      const auto sum = static_cast<float>(element(DType::kF32, values.data(), i)) +
                       static_cast<float>(element(output, residual.data(), row * c.n + i));
      const uint16_t bits = output == DType::kF16 ? f32_to_f16(sum) : f32_to_bf16(sum);
      std::memcpy(&out[2 * i], &bits, 2);
    }
    return out;
  }

  static constexpr float kInputScale = 0.125f, kOutputScale = 0.5f;
  Case c;
  DType type, output;
  std::vector<std::byte> weight, x, residual;
  std::vector<float> scales, bias, token_scales;
};

// All blocks against the plain product; what lies between and behind the rows stays untouched.
void compare(int variant, const Layer& layer, std::optional<ActivationKind> activation) {
  const Case& c = layer.c;
  const size_t in = dtype_bytes(layer.type), out = dtype_bytes(layer.output);
  const CutlassForm form = kSpmm24CutlassVariants[variant].form;
  const auto packed = pack_spmm24_cutlass("w", form, layer.type, c.n, c.k, layer.weight.data());
  AlignedBuffer values(packed.values.size()), metadata(packed.metadata.size());
  std::memcpy(values.data(), packed.values.data(), packed.values.size());
  std::memcpy(metadata.data(), packed.metadata.data(), packed.metadata.size());
  const int64_t y_stride = c.n + c.y_gap;
  AlignedBuffer x = rows_of(layer.x, c.m, c.k * in, (c.k + c.x_gap) * in);
  AlignedBuffer residual = rows_of(layer.residual, c.m, c.n * out, y_stride * out);
  AlignedBuffer y((c.m + 1) * y_stride * out);
  std::memset(y.data(), 0x5a, y.size());
  Spmm24CutlassArgs args;
  args.x = x.data();
  args.values = values.data();
  args.metadata = metadata.data();
  args.m = c.m;
  args.n = c.n;
  args.k = c.k;
  args.x_stride = c.k + c.x_gap;
  args.y_stride = args.residual_stride = y_stride;
  args.y = y.data();
  args.input_scale = Layer::kInputScale;
  args.weight_scales = c.scales ? layer.scales.data() : nullptr;
  args.token_scales = c.token_scales ? layer.token_scales.data() : nullptr;
  args.bias = c.bias ? layer.bias.data() : nullptr;
  args.residual = c.residual ? residual.data() : nullptr;
  args.output_scale = Layer::kOutputScale;
  check_spmm24_cutlass(variant, layer.type, layer.output, args);
  host_spmm24_cutlass(variant, layer.type, layer.output, activation, args);

  const std::vector<std::byte> want = layer.expected(activation), gap(out, std::byte{0x5a});
  for (int64_t row = 0; row <= c.m; ++row) {
    for (int64_t column = 0; column < y_stride; ++column) {
      const std::byte* found = y.as<std::byte>() + (row * y_stride + column) * out;
      const bool outside = row == c.m || column >= c.n;
      const std::byte* expected = outside ? gap.data() : &want[(row * c.n + column) * out];
      ASSERT_EQ(std::memcmp(found, expected, out), 0)
          << kSpmm24CutlassVariants[variant].name << ' ' << dtype_name(layer.type) << " m " << c.m
          << " n " << c.n << ": " << row << ' ' << column;
    }
  }
}

TEST(Spmm24Cutlass, IsThePlainProduct) {
  for (int variant = 0; variant < kSpmm24CutlassVariantCount; ++variant) {
    for (DType type : kTypes) {
      for (const Case& c : kCases) {
        const DType output = c.residual && type == DType::kI8 ? DType::kF16 : type;
        compare(variant, Layer(c, type, output), std::nullopt);
      }
    }
  }
}

TEST(Spmm24Cutlass, EveryOutputAndActivation) {
  using enum ActivationKind;
  for (DType type : kTypes) {
    for (DType output : kTypes) {
      const Layer layer({3, 16, 128}, type, output);
      for (std::optional<ActivationKind> activation :
           {std::optional<ActivationKind>{}, std::optional(kGelu), std::optional(kRelu),
            std::optional(kGeluTanh), std::optional(kTanh)}) {
        compare(0, layer, activation);
      }
    }
  }
}

TEST(Spmm24Cutlass, TheDefaultFillsTheDevice) {
  DeviceProperties device;
  device.multiprocessors = 100;
  const auto chosen = [&](CutlassForm form, int64_t m, int64_t n) {
    return std::string(kSpmm24CutlassVariants[default_spmm24_cutlass(form, device, m, n)].name);
  };
  EXPECT_EQ(chosen(CutlassForm::kSm80, 1, 768), "sm80-64x64");
  EXPECT_EQ(chosen(CutlassForm::kSm80, 1024, 768), "sm80-64x64");
  EXPECT_EQ(chosen(CutlassForm::kSm80, 1100, 768), "sm80-128x64");
  EXPECT_EQ(chosen(CutlassForm::kSm80, 4096, 768), "sm80-128x128");
  EXPECT_EQ(chosen(CutlassForm::kSm90, 100, 768), "sm90-128x64");
  EXPECT_EQ(chosen(CutlassForm::kSm90, 4096, 768), "sm90-128x128");
}

TEST(Spmm24Cutlass, VariantsHaveNames) {
  for (int i = 0; i < kSpmm24CutlassVariantCount; ++i)
    EXPECT_EQ(find_spmm24_cutlass(kSpmm24CutlassVariants[i].name), i);
  EXPECT_EQ(find_spmm24_cutlass("sm80-1x1"), std::nullopt);
}

TEST(Spmm24Cutlass, RejectsWithAReason) {
  const auto reason = [](CutlassForm form, int major, int minor, DType input, DType output,
                         int64_t n, int64_t k) {
    DeviceProperties device;
    device.name = "A card";
    device.major = major;
    device.minor = minor;
    return spmm24_cutlass_rejects(form, device, input, output, n, k).value_or("");
  };
  using enum CutlassForm;
  constexpr DType kS8 = DType::kI8, kF16 = DType::kF16, kF32 = DType::kF32;
  EXPECT_EQ(reason(kSm80, 8, 0, kS8, kS8, 16, 128), "");
  EXPECT_EQ(reason(kSm80, 10, 0, kF16, kS8, 16, 64), "");
  EXPECT_EQ(reason(kSm90, 9, 0, kS8, kF16, 16, 32), "");
  EXPECT_EQ(reason(kSm80, 7, 5, kS8, kS8, 16, 128),
            "A card has compute capability 7.5, sparse Tensor Cores need 8.0 or later");
  EXPECT_EQ(reason(kSm90, 10, 0, kS8, kS8, 16, 128),
            "A card has compute capability 10.0, wgmma is 9.0's alone");
  EXPECT_EQ(reason(kSm80, 8, 0, kF32, kS8, 16, 128),
            "F32 to I8 is none of its layers, expected F16, BF16 or I8");
  EXPECT_EQ(reason(kSm90, 9, 0, kF16, kS8, 16, 128), "it stores F16 as such, not as I8");
  EXPECT_EQ(reason(kSm80, 8, 0, kS8, kS8, 24, 128), "n is 24, expected a multiple of 16");
  EXPECT_EQ(reason(kSm80, 8, 0, kS8, kS8, 16, 64), "k is 64, expected a multiple of 128");
  EXPECT_EQ(reason(kSm80, 8, 0, kF16, kF16, 16, 96), "k is 96, expected a multiple of 64");
  EXPECT_EQ(reason(kSm90, 9, 0, kF16, kF16, 16, 24), "k is 24, expected a multiple of 16");
}

TEST(Spmm24Cutlass, PackingRefuses) {
  std::vector<int8_t> weight(16 * 128, 0);
  const auto packing = [&](CutlassForm form, DType type, int64_t n, int64_t k) {
    return error_of([&] { pack_spmm24_cutlass("layer.weight", form, type, n, k, weight.data()); });
  };
  EXPECT_EQ(packing(CutlassForm::kSm80, DType::kI8, 16, 128), "no error");
  EXPECT_THAT(packing(CutlassForm::kSm90, DType::kF32, 16, 128),
              HasSubstr("[layer.weight] F32 to F32 is none of its layers"));
  EXPECT_THAT(packing(CutlassForm::kSm80, DType::kI8, 16, 64), HasSubstr("k is 64"));
  weight[5] = weight[6] = weight[7] = 1;
  EXPECT_THAT(packing(CutlassForm::kSm80, DType::kI8, 16, 128), HasSubstr("layer.weight"));
}

TEST(Spmm24Cutlass, RefusesWhatTheKernelsCannotDo) {
  AlignedBuffer memory(4096);
  Spmm24CutlassArgs good;
  good.x = good.values = good.metadata = memory.data();
  good.y = memory.data();
  good.m = 2;
  good.n = good.y_stride = good.residual_stride = 16;
  good.k = good.x_stride = 128;
  const auto with = [&](const std::function<void(Spmm24CutlassArgs&)>& change,
                        DType output = DType::kI8, int variant = 0) {
    Spmm24CutlassArgs args = good;
    change(args);
    return error_of([&] { check_spmm24_cutlass(variant, DType::kI8, output, args); });
  };
  const auto nothing = [](Spmm24CutlassArgs&) {};
  EXPECT_EQ(with(nothing), "no error");
  EXPECT_THAT(with(nothing, DType::kI8, 99), HasSubstr("variant 99, expected 0 to 4"));
  EXPECT_THAT(with(nothing, DType::kI32), HasSubstr("I8 to I32 is none of its layers"));
  EXPECT_THAT(with([](auto& a) { a.m = -1; }), HasSubstr("m is -1"));
  EXPECT_THAT(with([](auto& a) { a.n = 24; }), HasSubstr("n is 24"));
  EXPECT_THAT(with([](auto& a) { a.k = 64; }), HasSubstr("k is 64, expected a multiple of 128"));
  EXPECT_THAT(with([](auto& a) { a.x_stride = 64; }),
              HasSubstr("rows of x are 64 elements apart, expected at least 128"));
  EXPECT_THAT(with([](auto& a) { a.x_stride = 136; }), HasSubstr("x is at"));
  EXPECT_THAT(with([](auto& a) { a.y = nullptr; }), HasSubstr("y is at"));
  EXPECT_THAT(with([](auto& a) { a.y_stride = 20; }), HasSubstr("y is at"));
  EXPECT_THAT(with([](auto& a) { a.metadata = nullptr; }), HasSubstr("metadata is at"));
  EXPECT_THAT(with([](auto& a) { a.residual = a.x; }),
              HasSubstr("a residual is added to F16 or BF16, not to I8"));
  EXPECT_EQ(with([](auto& a) { a.residual = a.x; }, DType::kF16), "no error");
  EXPECT_THAT(with([](auto& a) { a.output_scale = 0; }), HasSubstr("output_scale is 0"));
}

}  // namespace
}  // namespace twofour::cuda
