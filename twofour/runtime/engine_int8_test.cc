// int8 models: every kernel gives the same bits, which are those of a simulation in doubles.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "twofour/backend/backends.h"
#include "twofour/base/cpu_features.h"
#include "twofour/io/testing.h"
#include "twofour/runtime/slow_network.h"
#include "twofour/runtime/test_models.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

class Int8 : public testing::TestWithParam<int> {
 protected:
  ModelDirectory model_ = int8_model("cross-encoder", GetParam());
};

class Int8Scales : public testing::TestWithParam<std::tuple<int, std::string>> {
 protected:
  std::string scales() const { return std::get<1>(GetParam()); }
  std::shared_ptr<const Engine> load(const std::string& kernel = {}) const {
    return Engine::load(model_, {.force_kernel = kernel, .activation_scales = scales()});
  }
  ModelDirectory model_ = int8_model("cross-encoder", std::get<0>(GetParam()));
};

TEST_P(Int8Scales, EveryKernelGivesTheSameBits) {
  const PackedTokens tokens = random_tokens(build_network(model_.config()), 9, 1, 60);
  Taps want_taps;
  const auto reference = load("matmul_s8_reference");
  const std::vector<float> want = run(reference, tokens.batch(), 1, &want_taps);
  EXPECT_EQ(want_taps.size(), reference->network().quant_points.size());
  for (const KernelInfo& kernel : describe_kernels()) {
    if (!kernel.unavailable.empty() || kernel.type != "int8") continue;
    for (int threads : {1, 2, 5}) {
      Taps taps;
      EXPECT_EQ(run(load(kernel.name), tokens.batch(), threads, &taps), want) << kernel.name;
      EXPECT_EQ(taps, want_taps) << kernel.name;
    }
  }
}

// `option` may ask for other scales than those that take effect.
void expect_simulated(const ModelDirectory& model, const std::string& scales,
                      const std::optional<std::string>& option = {}) {
  const auto engine = Engine::load(model, {.activation_scales = option.value_or(scales)});
  EXPECT_EQ(engine->options().activation_scales, scales);
  const PackedTokens tokens = random_tokens(engine->network(), 12, 2, 40);
  Taps taps;
  const std::vector<float> output = run(engine, tokens.batch(), 2, &taps);

  SlowNetwork slow(engine->network(), model, scales);
  std::vector<float> want;
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i) {
    const size_t begin = tokens.offsets[i], length = tokens.offsets[i + 1] - begin;
    const auto rows = slow.run(std::span(tokens.ids).subspan(begin, length),
                               std::span(tokens.type_ids).subspan(begin, length));
    want.insert(want.end(), rows[0].begin(), rows[0].end());
  }
  size_t count = 0, different = 0;
  for (const auto& [point, values] : slow.quantized) {
    ASSERT_EQ(taps[point].size(), values.size()) << point;
    for (size_t i = 0; i < values.size(); ++i) {
      const int difference = std::abs(taps[point][i] - values[i]);
      ASSERT_LE(difference, 1) << point << " at " << i;
      different += difference;
      ++count;
    }
  }
  // A row's own scale is a rounded number more.
  EXPECT_LE(different, count / (scales == "per_token" ? 400 : 1000)) << "of " << count;
  expect_close(output, want, 5e-3);
}

TEST_P(Int8Scales, MatchASimulationInDoubles) { expect_simulated(model_, scales()); }

// Where GELU's least value is beyond the file's range, there is no zero point.
TEST(Asymmetric, MatchesASimulationInDoubles) {
  for (const std::string activation : {"relu", "gelu_new", "gelu"}) {
    const ModelDirectory model =
        random_model({.layers = 1, .hidden_act = activation}, false, activation);
    for (float amax : {1.5f, 0.1f}) {
      SCOPED_TRACE(activation + " up to " + std::to_string(amax));
      const auto path = model.path().string() + "_int8_" + std::to_string(amax);
      expect_simulated(write_int8_model(model, path, 0, amax), "asymmetric");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(SharedRows, Int8Scales,
                         testing::Combine(testing::Values(0, 1, 2, 4),
                                          testing::Values("static", "asymmetric", "per_token")));

TEST(DynamicActivations, HaveScalesByTokenWhateverTheOptionSays) {
  for (int share_rows : {0, 2}) {
    const ModelDirectory with_scales = int8_model("cross-encoder", share_rows);
    const ModelDirectory model = without_input_scales(with_scales);
    const PackedTokens tokens = random_tokens(build_network(model.config()), 9, 1, 60);
    const std::vector<float> want =
        run(Engine::load(with_scales, {.activation_scales = "per_token"}), tokens.batch());
    for (const std::string option : {"", "static", "asymmetric", "per_token"}) {
      SCOPED_TRACE(option);
      expect_simulated(model, "per_token", option);
      EXPECT_EQ(run(Engine::load(model, {.activation_scales = option}), tokens.batch(), 2), want);
    }
  }
}

// As llm-compressor leaves a bf16 model: weights down to -128, scales as bf16 and without the last
// dimension.
ModelDirectory as_llm_compressor_writes(const ModelDirectory& model) {
  const std::filesystem::path path = model.path().string() + "-foreign";
  std::filesystem::remove_all(path);
  std::filesystem::copy(model.path(), path, std::filesystem::copy_options::recursive);
  std::vector<Tensor> owned;
  std::vector<NamedTensor> tensors;
  for (const std::string& name : model.tensor_names()) {
    const TensorView view = model.tensor(name);
    if (view.dtype == DType::kI8) {
      Tensor weight(view);
      for (int8_t& value : weight.as<int8_t>()) value = value < -120 ? int8_t{-128} : value;
      owned.push_back(std::move(weight));
    } else if (name.ends_with("_scale")) {
      const bool of_input = name.ends_with("input_scale");
      Tensor scale(DType::kBF16, of_input ? Shape() : Shape{view.shape[0]});
      for (int64_t i = 0; i < scale.numel(); ++i)
        scale.as<uint16_t>()[i] = f32_to_bf16(view.as<float>()[i]);
      owned.push_back(std::move(scale));
    } else {
      owned.emplace_back(view);
    }
  }
  for (size_t i = 0; i < owned.size(); ++i) tensors.push_back({model.tensor_names()[i], owned[i]});
  write_safetensors(path / "model.safetensors", tensors);
  return ModelDirectory::open(path);
}

TEST(ForeignInt8, RunsWithItsScalesAndWeightsOfMinus128) {
  for (int share_rows : {0, 1, 4}) {
    SCOPED_TRACE(share_rows);
    const ModelDirectory model = as_llm_compressor_writes(int8_model("cross-encoder", share_rows));
    const auto weight = model.tensor("encoder.layer.0.output.dense.weight").as<int8_t>();
    ASSERT_NE(std::find(weight.begin(), weight.end(), int8_t{-128}), weight.end());
    expect_simulated(model, "static");
    const PackedTokens tokens = random_tokens(build_network(model.config()), 9, 1, 60);
    const std::vector<float> want =
        run(Engine::load(model, {.force_kernel = "matmul_s8_reference"}), tokens.batch());
    for (const KernelInfo& kernel : describe_kernels()) {
      if (!kernel.unavailable.empty() || kernel.type != "int8") continue;
      EXPECT_EQ(run(Engine::load(model, {.force_kernel = kernel.name}), tokens.batch()), want)
          << kernel.name;
    }
  }
}

// The model's scales were not calibrated on anything.
TEST(PerToken, IsCloserThanScalesOfOtherData) {
  const ModelDirectory model = int8_model("cross-encoder", 0);
  const PackedTokens tokens = random_tokens(build_network(model.config()), 9, 1, 60);
  const auto distance = [&](const std::string& scales) {
    const auto found = run(Engine::load(model, {.activation_scales = scales}), tokens.batch());
    const auto want = run(Engine::load(golden_path("cross-encoder") / "model"), tokens.batch());
    double sum = 0;
    for (size_t i = 0; i < want.size(); ++i) sum += std::fabs(found[i] - want[i]);
    return sum;
  };
  EXPECT_LT(distance("per_token"), distance("static"));
}

TEST(PerToken, AnotherNameIsAnError) {
  EXPECT_THAT(error_of([] {
                Engine::load(golden_path("cross-encoder") / "model",
                             {.activation_scales = "per_channel"});
              }),
              HasSubstr("[activation_scales] no activation scales are named 'per_channel'"));
}

TEST_P(Int8, AttentionInFewerBitsIsClose) {
  const PackedTokens tokens = random_tokens(build_network(model_.config()), 9, 1, 60);
  const std::vector<float> want = run(Engine::load(model_), tokens.batch());
  const auto check = [&](const std::string& attention, bool present, double tolerance) {
    SCOPED_TRACE(attention);
    if (!present) {
      EXPECT_THAT(error_of([&] { Engine::load(model_, {.attention = attention}); }),
                  HasSubstr(attention + " needs AVX-512"));
      return;
    }
    const auto engine = Engine::load(model_, {.attention = attention});
    EXPECT_EQ(engine->options().attention, attention);
    const std::vector<float> found = run(engine, tokens.batch());
    EXPECT_NE(found, want);
    EXPECT_EQ(run(engine, tokens.batch(), 3), found);
    expect_close(found, want, tolerance);
  };
  const CpuFeatures& cpu = cpu_features();
  check("bf16", cpu.avx512_bf16, 0.05);
  check("int8", cpu.avx512_vnni || cpu.avx_vnni, 0.05);
}

TEST_P(Int8, LayersTellWhatRuns) {
  const auto engine = Engine::load(model_);
  const std::vector<LayerInfo> layers = engine->layers();
  ASSERT_EQ(layers.size(), 2u * 4 + 2);
  const LayerInfo& layer = layers[0];
  EXPECT_EQ(layer.name, "encoder.layer.0.attention.self.query+key+value");
  EXPECT_EQ(layer.n, 3 * layer.k);
  EXPECT_EQ(layer.type, "int8");
  EXPECT_EQ(layer.sparse, GetParam() > 0);
  EXPECT_EQ(layer.kernel.starts_with("spmm24"), GetParam() > 0);
  EXPECT_EQ(layers.back().type, "f32");
  EXPECT_GT(engine->packed_bytes(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Dense0OrShared, Int8, testing::Values(0, 1, 2, 4));

TEST(Int8Errors, ReadersOfOneValueDisagree) {
  const ModelDirectory model = int8_model("minilm", 1);
  const std::string name = "encoder.layer.0.attention.self.key.input_scale";
  const Tensor other = [] {
    Tensor scale(DType::kF32, {1});
    scale.as<float>()[0] = 0.5f;
    return scale;
  }();
  ModelToSave save{model.path(), model.config(), {}, {}};
  for (const std::string& tensor : model.tensor_names()) {
    save.tensors.push_back({tensor, tensor == name ? other.view() : model.tensor(tensor)});
  }
  const auto path =
      std::filesystem::path(testing::TempDir()) / ("disagree_" + std::to_string(getpid()));
  save_model_directory(path, save);
  EXPECT_THAT(error_of([&] { Engine::load(path); }),
              testing::AllOf(HasSubstr(name), HasSubstr("must have one input scale")));
}

}  // namespace
}  // namespace twofour
