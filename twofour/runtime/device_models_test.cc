// Results of the engine on a device, over stand-ins, against those of the engine on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "twofour/runtime/test_device_engine.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

class DeviceModels : public DeviceEngine,
                     public testing::WithParamInterface<std::tuple<const char*, const char*>> {
 protected:
  std::string layout_ = std::get<0>(GetParam()), precision_ = std::get<1>(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Layouts, DeviceModels,
                         testing::Combine(testing::Values("bge", "cross-encoder",
                                                          "cross-encoder-regression", "minilm"),
                                          testing::Values("f32", "fp16", "bf16")),
                         [](const auto& info) {
                           std::string name = std::string(std::get<0>(info.param)) + "_" +
                                              std::string(std::get<1>(info.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(DeviceModels, OutputIsTheCpuEngines) {
  const auto golden = Safetensors::open(golden_path(layout_) / "golden.safetensors");
  const PackedTokens tokens = golden_tokens(golden);
  const ModelDirectory model = golden_model(layout_);
  const auto engine = stand_in_.load(model, {.precision = precision_});
  EXPECT_EQ(engine->options().device, "cuda:0");
  EXPECT_EQ(engine->options().precision, precision_);
  const std::vector<float> found = run(engine, tokens.batch());
  expect_close(found, run(Engine::load(model), tokens.batch()), tolerance(precision_));
  expect_close(found, golden.get("output").as<float>(), tolerance(precision_));
}

TEST_P(DeviceModels, HiddenStatesAreTheCpuEngines) {
  const ModelDirectory model = golden_model(layout_).with_head(HeadKind::kNone, 0);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 9, 4, 60);
  expect_close(run(stand_in_.load(model, {.precision = precision_}), tokens.batch()),
               run(cpu, tokens.batch()), tolerance(precision_));
}

void expect_near(const std::vector<int8_t>& found, const std::vector<int8_t>& want,
                 const Apart& apart) {
  ASSERT_EQ(found.size(), want.size());
  size_t different = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_LE(std::abs(found[i] - want[i]), apart.most) << i;
    different += found[i] != want[i];
  }
  EXPECT_LE(static_cast<double>(different), apart.share * static_cast<double>(want.size()));
}

TEST_P(DeviceModels, Int8IsTheCpuEngines) {
  const AllowedApart allowed = allowed_apart(precision_);
  for (int share_rows : {0, 1}) {
    const ModelDirectory model = int8_model(layout_, share_rows);
    const auto cpu = Engine::load(model);
    const PackedTokens tokens = random_tokens(cpu->network(), 9, 5, 60);
    Taps want_taps, taps;
    const auto want = run(cpu, tokens.batch(), 1, &want_taps);
    const auto engine = stand_in_.load(model, {.precision = precision_});
    expect_close(run(engine, tokens.batch(), 1, &taps), want, allowed.all.output);
    ASSERT_EQ(taps.size(), want_taps.size());
    const std::string first = cpu->network().quant_points.front().name;
    expect_near(taps[first], want_taps[first], allowed.first);
    std::vector<int8_t> all, want_all;
    for (const auto& [point, values] : want_taps) {
      want_all.insert(want_all.end(), values.begin(), values.end());
      all.insert(all.end(), taps[point].begin(), taps[point].end());
    }
    expect_near(all, want_all, allowed.all);
  }
}

struct SizeCase {
  const char* name;
  ModelSize size;
};

class DeviceSizes : public DeviceEngine,
                    public testing::WithParamInterface<std::tuple<SizeCase, bool>> {
 protected:
  std::string name_ = std::get<0>(GetParam()).name;
  ModelSize size_ = std::get<0>(GetParam()).size;
  bool sparse_ = std::get<1>(GetParam());
};
// Heads of 16, 32 and 64: attention by tensor cores.
INSTANTIATE_TEST_SUITE_P(
    Sizes, DeviceSizes,
    testing::Combine(testing::Values(SizeCase{"heads16", {64, 4, 128}},
                                     SizeCase{"heads32", {96, 3, 192}},
                                     SizeCase{"heads64", {128, 2, 128, 1, HeadKind::kEmbedding}},
                                     SizeCase{"relu", {64, 2, 96, 1, HeadKind::kNone, "relu"}}),
                     testing::Bool()),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) +
             (std::get<1>(info.param) ? "_sparse" : "_dense");
    });

TEST_P(DeviceSizes, EveryModeIsTheCpuEngines) {
  const ModelDirectory model = random_model(size_, sparse_, name_);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 7, 6, 150);
  const auto want = run(cpu, tokens.batch());
  for (const char* precision : {"f32", "fp16", "bf16"}) {
    const auto engine = stand_in_.load(model, {.precision = precision});
    for (const LayerInfo& layer : engine->layers()) {
      const bool encoder = layer.name.starts_with("encoder");
      EXPECT_EQ(layer.sparse, sparse_ && encoder && std::string_view(precision) != "f32");
      if (layer.sparse || !sparse_ || !encoder)
        EXPECT_EQ(layer.why_dense, "");
      else
        EXPECT_THAT(layer.why_dense, HasSubstr("F32 products have a 1:2 pattern"));
    }
    expect_close(run(engine, tokens.batch()), want, tolerance(precision));
  }
}

TEST_P(DeviceSizes, Int8IsTheCpuEngines) {
  const auto path = std::filesystem::path(testing::TempDir()) /
                    ("device_int8_" + name_ + "_" + std::to_string(getpid()));
  const ModelDirectory model =
      write_int8_model(random_model(size_, false, name_), path, sparse_ ? 1 : 0);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 5, 7, 150);
  const auto engine = stand_in_.load(model);
  EXPECT_EQ(engine->options().precision, "fp16");
  EXPECT_EQ(engine->layers()[0].kernel, sparse_ ? "spmm24_s8_cusparselt" : "matmul_s8_cublaslt");
  expect_close(run(engine, tokens.batch()), run(cpu, tokens.batch()), 0.03);
}

// Rounded to 4 bits and multiplied as such, beside an fp16 stream.
TEST_F(DeviceEngine, Fp8IsNearTheCpuEngine) {
  for (const bool sparse : {false, true}) {
    const ModelDirectory model =
        random_model({64, 4, 128, 2, HeadKind::kNone}, sparse, sparse ? "fp8_sparse" : "fp8");
    const auto cpu = Engine::load(model);
    const PackedTokens tokens = random_tokens(cpu->network(), 5, 7, 60);
    const auto engine = stand_in_.load(model, {.precision = "fp8"});
    EXPECT_EQ(engine->options().precision, "fp8");
    EXPECT_EQ(engine->options().attention, "fp16");
    const LayerInfo layer = engine->layers()[0];
    EXPECT_EQ(layer.type, "fp8");
    EXPECT_EQ(layer.kernel, sparse ? "spmm24_e4m3_cusparselt" : "matmul_e4m3_cublaslt");
    EXPECT_LT(engine->packed_bytes(), stand_in_.load(model, {.precision = "fp16"})->packed_bytes());
    expect_close(run(engine, tokens.batch()), run(cpu, tokens.batch()), 0.25);
    if (!sparse) continue;
    const auto last = stand_in_.load(model, {.precision = "fp8"});
    run(last, tokens.batch());
    for (const auto& plan : stand_in_.sparse->plans_made) {
      EXPECT_EQ(plan.input.type, DType::kF8E4M3);
      EXPECT_EQ(plan.output.type, DType::kF16);
    }
    EXPECT_FALSE(stand_in_.sparse->plans_made.empty());
  }
}

}  // namespace
}  // namespace twofour
