#include "twofour/backend/matmul.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "twofour/backend/backends.h"
#include "twofour/backend/cpu/panels.h"
#include "twofour/backend/cpu/row_sharing.h"
#include "twofour/backend/matmul_cases.h"
#include "twofour/backend/poison.h"
#include "twofour/backend/vector_ops.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/dtype.h"
#include "twofour/base/error.h"
#include "twofour/quant/quantize.h"
#include "twofour/sparse/mask.h"

namespace twofour {
namespace {

using testing::HasSubstr;

double operand(const MatmulCase& c, float value) {
  return c.desc.type == MatmulType::kBf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
}

std::vector<float> expected(const MatmulCase& c, int64_t m) {
  std::vector<float> y;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t row = 0; row < c.desc.n; ++row) {
      if (c.desc.type == MatmulType::kS8) {
        int32_t sum = 0;
        for (int64_t j = 0; j < c.desc.k; ++j) {
          sum += c.x_s8[i * c.desc.k + j] * c.weight_s8[row * c.desc.k + j];
        }
        y.push_back(dequantize_sum(sum, c.input_scale, c.scales[row], c.bias[row]));
      } else {
        double sum = c.bias[row];
        for (int64_t j = 0; j < c.desc.k; ++j) {
          sum +=
              operand(c, c.x_f32[i * c.desc.k + j]) * operand(c, c.weight_f32[row * c.desc.k + j]);
        }
        y.push_back(static_cast<float>(sum));
      }
    }
  }
  return y;
}

void check_case(const Kernel& kernel, const MatmulCase& c, int64_t m) {
  const PackedWeights packed = kernel.pack(c.desc, c.source());
  const std::vector<float> y = run_kernel(kernel, packed, c, m);
  const std::vector<float> want = expected(c, m);
  // Sums of k products of magnitude up to 1, each rounded: k * eps bounds the difference.
  const float tolerance =
      c.desc.type == MatmulType::kS8 ? 0.0f : 1.2e-7f * static_cast<float>(c.desc.k);
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_LE(std::fabs(y[i] - want[i]), tolerance)
        << kernel.name() << " m " << m << " n " << c.desc.n << " k " << c.desc.k << " at row "
        << i / c.desc.n << " column " << i % c.desc.n << ": " << y[i] << ", expected " << want[i];
  }
}

class EveryKernel : public testing::TestWithParam<const Kernel*> {
 protected:
  void SetUp() override {
    if (auto reason = GetParam()->unavailable()) GTEST_SKIP() << *reason;
  }

  void check(int64_t m, int64_t n, int64_t k, Fill fill = Fill::kRandom, int share = 1,
             bool shuffled = false) {
    const Kernel& kernel = *GetParam();
    const MatmulDesc desc{n, k, kernel.type(), kernel.sparse()};
    if (kernel.rejects(desc)) return;
    check_case(kernel, maker_.make(desc, m, fill, share, shuffled), m);
  }

  CaseMaker maker_{7};
};

TEST_P(EveryKernel, OddShapes) {
  for (int64_t m : {1, 2, 3, 5, 6, 7, 8, 9, 16, 31, 97}) {
    for (int64_t n : {1, 3, 16, 17, 47, 48, 49, 100}) {
      for (int64_t k : {1, 4, 7, 8, 24, 64, 70, 136}) check(m, n, k);
    }
  }
}

TEST_P(EveryKernel, ManyTokensAndInputs) {
  for (int64_t m : {33, 97}) check(m, 40, 1032);
}

TEST_P(EveryKernel, ExtremeValues) {
  for (int64_t k : {8, 384, 3072}) check(9, 40, k, Fill::kExtreme);
}

TEST_P(EveryKernel, SharedPatterns) {
  for (int share : {2, 4, 8, 16, 32}) {
    for (bool shuffled : {false, true}) {
      for (int64_t m : {1, 6, 13}) {
        for (int64_t n : {8, 24, 64, 130}) check(m, n, 128, Fill::kRandom, share, shuffled);
      }
    }
  }
}

TEST_P(EveryKernel, PanelsAreIndependent) {
  const Kernel& kernel = *GetParam();
  const MatmulDesc desc{150, 64, kernel.type(), kernel.sparse()};
  const MatmulCase c = maker_.make(desc, 11);
  const PackedWeights packed = kernel.pack(desc, c.source());
  const std::vector<float> whole = run_kernel(kernel, packed, c, 11);
  std::vector<float> y(whole.size(), kPoison);
  for (size_t p = 0; p < packed.panels.size(); ++p) {
    AlignedBuffer scratch = poisoned(kernel.scratch_bytes(packed, 11));
    MatmulArgs args;
    args.m = 11;
    args.x = c.x();
    args.input_scale = c.input_scale;
    args.y = y.data();
    args.panel_begin = static_cast<int64_t>(p);
    args.panel_end = args.panel_begin + 1;
    args.scratch = scratch.data();
    kernel.run(packed, args);
  }
  EXPECT_EQ(y, whole);
}

// `activation` and quantization behind a product equal those done apart from it.
void check_epilogue(const Kernel& kernel, const PackedWeights& packed, const MatmulCase& c,
                    int64_t m, ActivationKind activation) {
  SCOPED_TRACE(fmt::format("{} m {} n {}", activation_name(activation), m, c.desc.n));
  const auto count = static_cast<size_t>(m * c.desc.n);
  std::vector<float> want = run_kernel(kernel, packed, c, m);
  vector_ops().activate(activation, want.data(), m * c.desc.n);
  std::vector<int8_t> want_quantized(count), quantized(count, kPoisonByte);
  quantize(want, 0.05f, want_quantized);

  AlignedBuffer scratch = poisoned(kernel.scratch_bytes(packed, m));
  std::vector<float> y(count, kPoison);
  MatmulArgs args;
  args.m = m;
  args.x = c.x();
  args.input_scale = c.input_scale;
  args.epilogue = {activation, quantized.data(), 0.05f};
  args.panel_end = static_cast<int64_t>(packed.panels.size());
  args.scratch = scratch.data();
  kernel.run(packed, args);
  EXPECT_EQ(quantized, want_quantized);
  scratch = poisoned(scratch.size());
  std::fill(quantized.begin(), quantized.end(), kPoisonByte);
  args.y = y.data();
  args.scratch = scratch.data();
  kernel.run(packed, args);
  EXPECT_EQ(y, want);
  EXPECT_EQ(quantized, want_quantized);
}

// Rows in order, in some order within their panel, and scattered over the matrix.
TEST_P(EveryKernel, FusesTheEpilogue) {
  const Kernel& kernel = *GetParam();
  if (!kernel.fuses_epilogue()) GTEST_SKIP() << "does not";
  for (const auto& [share, shuffled] : {std::pair{1, false}, {2, false}, {2, true}, {4, true}}) {
    SCOPED_TRACE(share);
    for (const auto& [m, n] :
         {std::pair<int64_t, int64_t>{11, 24}, {11, 150}, {40, 16}, {97, 100}}) {
      const MatmulCase c =
          maker_.make({n, 64, kernel.type(), kernel.sparse()}, m, Fill::kRandom, share, shuffled);
      const PackedWeights packed = kernel.pack(c.desc, c.source());
      for (const auto activation : {ActivationKind::kGelu, ActivationKind::kGeluTanh,
                                    ActivationKind::kRelu, ActivationKind::kTanh})
        check_epilogue(kernel, packed, c, m, activation);
    }
  }
}

// Of two kernels of one instruction set. 2:4 int8 is 4 bits a weight and 1 of metadata.
TEST_P(EveryKernel, SparseInt8TakesAtMostTwoThirdsOfDense) {
  const Kernel& kernel = *GetParam();
  if (!kernel.sparse() || kernel.type() != MatmulType::kS8) GTEST_SKIP() << "is another";
  std::string dense_name(kernel.name());
  dense_name.replace(0, dense_name.find('_'), "matmul");
  if (dense_name == "matmul_s8_avx512vbmi") dense_name = "matmul_s8_avx512vnni";
  const Kernel& dense = *forced_kernel(dense_name);
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{384, 384}, {1536, 384}, {384, 1536}}) {
    const MatmulCase c = maker_.make({n, k, MatmulType::kS8, true}, 1);
    const auto bytes = [&](const Kernel& each) {
      return static_cast<double>(each.pack(c.desc, c.source()).bytes());
    };
    EXPECT_LE(bytes(kernel), 0.66 * bytes(dense)) << n << " x " << k;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryKernel,
                         testing::ValuesIn(kernel_list().begin(), kernel_list().end()),
                         [](const auto& info) { return std::string(info.param->name()); });

TEST(Kernel, SaysWhyItCannot) {
  for (const Kernel* kernel : kernel_list()) {
    if (!kernel->sparse()) continue;
    const MatmulType type = kernel->type();
    EXPECT_EQ(kernel->rejects({8, 12, type, true}), "k = 12 is not a multiple of 8");
    EXPECT_EQ(kernel->rejects({8, 16, type, false}), "the weight is not 2:4-sparse");
    const MatmulType other = type == MatmulType::kF32 ? MatmulType::kS8 : MatmulType::kF32;
    EXPECT_EQ(kernel->rejects({8, 16, other, true}),
              fmt::format("computes {}, not {}", matmul_type_name(type), matmul_type_name(other)));
  }
}

TEST(RowSharing, FindsNeighboursThenOthers) {
  // Rows 0 and 1 agree, rows 2 and 4 agree, row 3 fits none.
  const std::vector<int8_t> w = {1, 2, 0, 0, 1, 2, 0, 0,  //
                                 3, 0, 0, 0, 0, 1, 0, 0,  //
                                 0, 0, 1, 1, 0, 0, 1, 1,  //
                                 1, 0, 0, 1, 1, 0, 1, 0,  //
                                 0, 0, 5, 1, 0, 0, 1, 1};
  const SharingPlan plan =
      plan_sharing({DType::kI8, {5, 8}, reinterpret_cast<const std::byte*>(w.data())});
  EXPECT_THAT(plan.pairs,
              testing::ElementsAre(std::vector<int32_t>{0, 1}, std::vector<int32_t>{2, 4}));
  EXPECT_THAT(plan.singles, testing::ElementsAre(std::vector<int32_t>{3}));
  EXPECT_TRUE(plan.quads.empty());
}

// Panels without gaps put their results in order in registers, others store them one by one.
TEST(RowSharing, NearbyRowsFillPanelsWithoutGaps) {
  CaseMaker maker(3);
  const MatmulCase dense = maker.make({128, 64, MatmulType::kF32, false}, 1);
  std::vector<float> energy;
  for (const float weight : dense.weight_f32) energy.push_back(weight * weight);
  for (const auto pairing : {RowPairing::kNearby, RowPairing::kLeastEnergy}) {
    for (const int share : {2, 4}) {
      const Mask mask =
          compute_mask("w", energy, 128, 64, {.share_rows = share, .pairing = pairing}).mask;
      MatmulCase c = dense;
      c.desc.sparse = true;
      for (size_t i = 0; i < energy.size(); ++i) c.weight_f32[i] *= mask.keep[i];
      for (const int lanes : {8, 16}) {
        const PackedWeights packed = pack_sparse24(c.desc, c.source(), lanes);
        EXPECT_EQ(packed.share_rows, share);
        const bool gaps = std::ranges::any_of(
            packed.panels, [](const PackedWeights::Panel& panel) { return panel.row_count == 0; });
        EXPECT_EQ(gaps, pairing == RowPairing::kLeastEnergy) << share << " rows, lanes " << lanes;
      }
    }
  }
}

// AMX expands every row by itself, the reference too.
TEST(RowSharing, ReportsWhatTheMatrixAllows) {
  CaseMaker maker(3);
  for (const Kernel* kernel : kernel_list()) {
    if (!kernel->sparse() || kernel->unavailable() || kernel->name() == "spmm24_s8_reference" ||
        kernel->name().ends_with("_amx"))
      continue;
    for (int share : {1, 2, 4}) {
      const MatmulDesc desc{128, 128, kernel->type(), true};
      const MatmulCase c = maker.make(desc, 1, Fill::kRandom, share, true);
      EXPECT_EQ(kernel->pack(desc, c.source()).share_rows, share) << kernel->name();
    }
  }
}

TEST(Selection, PrefersSparseKernelsForSparseWeights) {
  EXPECT_TRUE(select_kernel({64, 64, MatmulType::kS8, true}).sparse());
  EXPECT_FALSE(select_kernel({64, 64, MatmulType::kS8, false}).sparse());
  EXPECT_FALSE(select_kernel({64, 12, MatmulType::kS8, true}).sparse());
  EXPECT_EQ(select_kernel({64, 64, MatmulType::kBf16, true}).sparse(), cpu_features().avx512_bf16);
}

TEST(Selection, ForcesWhereItCan) {
  const Kernel* forced = forced_kernel("matmul_s8_reference");
  ASSERT_NE(forced, nullptr);
  EXPECT_EQ(select_kernel({64, 64, MatmulType::kS8, true}, forced).name(), "matmul_s8_reference");
  EXPECT_EQ(select_kernel({64, 64, MatmulType::kF32, false}, forced).type(), MatmulType::kF32);
}

// At the levels of TWOFOUR_MAX_ISA this machine lacks some.
TEST(Selection, AKernelThatTheMachineLacksIsAnError) {
  for (const Kernel* kernel : kernel_list()) {
    const auto reason = kernel->unavailable();
    if (!reason) continue;
    try {
      forced_kernel(kernel->name());
      ADD_FAILURE() << kernel->name();
    } catch (const Error& error) {
      EXPECT_EQ(error.what(),
                fmt::format("[force_kernel] kernel '{}' cannot run on this machine: {}. twofour "
                            "doctor says which can",
                            kernel->name(), *reason));
    }
    EXPECT_NE(select_kernel({64, 64, kernel->type(), kernel->sparse()}, kernel).name(),
              kernel->name());
  }
}

TEST(Selection, ReadsTheEnvironment) {
  ASSERT_EQ(setenv("TWOFOUR_FORCE_KERNEL", "spmm24_s8_reference", 1), 0);
  EXPECT_EQ(forced_kernel("")->name(), "spmm24_s8_reference");
  EXPECT_EQ(forced_kernel("matmul_f32_reference")->name(), "matmul_f32_reference");
  ASSERT_EQ(setenv("TWOFOUR_FORCE_KERNEL", "nothing", 1), 0);
  EXPECT_THROW(forced_kernel(""), Error);
  ASSERT_EQ(unsetenv("TWOFOUR_FORCE_KERNEL"), 0);
  EXPECT_EQ(forced_kernel(""), nullptr);
}

TEST(Selection, UnknownNameListsKernels) {
  try {
    forced_kernel("spmm99");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no kernel is named 'spmm99'. There are: "));
    EXPECT_THAT(error.what(), HasSubstr("matmul_s8_reference"));
  }
}

TEST(Selection, DescribesEveryKernel) {
  const auto infos = describe_kernels();
  ASSERT_EQ(infos.size(), kernel_list().size());
  EXPECT_EQ(infos.back().name, "matmul_f32_reference");
  EXPECT_EQ(infos.back().unavailable, "");
}

// The table of docs/kernels.md, without what it says about the machine.
TEST(Documentation, NamesEveryKernelBestFirst) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the table is that of x86-64";
#endif
  std::ifstream page(TWOFOUR_SOURCE_DIR "/docs/kernels.md");
  std::vector<std::string> found, want;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("| `")) continue;
    found.push_back(line.substr(0, line.find('|', line.find("| ", line.find("| ", 2) + 2) + 2)));
  }
  for (const Kernel* kernel : kernel_list()) {
    want.push_back(fmt::format("| `{}` | {} | {} ", kernel->name(),
                               matmul_type_name(kernel->type()),
                               kernel->sparse() ? "2:4" : "dense"));
  }
  EXPECT_EQ(found, want);
}

}  // namespace
}  // namespace twofour
