#include "twofour/runtime/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <optional>
#include <random>
#include <thread>

#include "twofour/backend/backends.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/testing.h"
#include "twofour/runtime/slow_network.h"
#include "twofour/runtime/test_models.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;
class Golden : public testing::TestWithParam<const char*> {};
class GoldenHead : public Golden {};

TEST_P(GoldenHead, OutputEqualsPyTorch) {
  const auto golden = Safetensors::open(golden_path(GetParam()) / "golden.safetensors");
  const PackedTokens tokens = golden_tokens(golden);
  const auto engine = Engine::load(golden_path(GetParam()) / "model");
  for (int threads : {1, 3})
    expect_close(run(engine, tokens.batch(), threads), golden.get("output").as<float>(), 1e-4);
}

TEST_P(Golden, LastHiddenStateEqualsPyTorch) {
  const auto golden = Safetensors::open(golden_path(GetParam()) / "golden.safetensors");
  const PackedTokens tokens = golden_tokens(golden);
  const ModelDirectory model = ModelDirectory::open(golden_path(GetParam()) / "model");
  const auto engine = Engine::load(model.with_head(HeadKind::kNone, 0));
  const std::vector<float> found = run(engine, tokens.batch());
  const TensorView hidden = golden.get("hidden_states.2");
  const size_t width = hidden.shape[2], padded = hidden.shape[1];
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i) {
    const size_t length = tokens.offsets[i + 1] - tokens.offsets[i];
    expect_close(std::span(found).subspan(tokens.offsets[i] * width, length * width),
                 hidden.as<float>().subspan(i * padded * width, length * width), 1e-4);
  }
}

TEST_P(GoldenHead, Bf16ProductsAreClose) {
  const auto model = golden_path(GetParam()) / "model";
  if (!cpu_features().avx512_bf16) {
    EXPECT_THAT(error_of([&] { Engine::load(model, {.precision = "bf16"}); }),
                HasSubstr("bf16 needs AVX-512 BF16"));
    return;
  }
  const auto golden = Safetensors::open(golden_path(GetParam()) / "golden.safetensors");
  const PackedTokens tokens = golden_tokens(golden);
  const auto engine = Engine::load(model, {.precision = "bf16"});
  EXPECT_EQ(engine->options().precision, "bf16");
  for (const LayerInfo& layer : engine->layers()) EXPECT_EQ(layer.type, "bf16") << layer.name;
  const std::vector<float> found = run(engine, tokens.batch());
  EXPECT_NE(found, run(Engine::load(model), tokens.batch()));
  expect_close(found, golden.get("output").as<float>(), 0.03);
}

std::string layout_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Layouts, Golden,
                         testing::Values("bert-cased", "bert-chinese", "bert-uncased", "bge",
                                         "cross-encoder", "cross-encoder-regression", "minilm",
                                         "multilingual"),
                         layout_name);
INSTANTIATE_TEST_SUITE_P(Layouts, GoldenHead,
                         testing::Values("bge", "cross-encoder", "cross-encoder-regression",
                                         "minilm"),
                         layout_name);

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

class Errors : public testing::Test {
 protected:
  std::string error(std::vector<int32_t> ids, std::vector<int32_t> types,
                    std::vector<int32_t> offsets, size_t output = 3) {
    std::vector<float> out(output);
    return error_of([&] { session_.run({ids, types, offsets}, out); });
  }
  std::shared_ptr<const Engine> engine_ = Engine::load(golden_path("cross-encoder") / "model");
  Session session_{engine_};
};

TEST_F(Errors, OfOptions) {
  const auto model = golden_path("cross-encoder") / "model";
  EXPECT_EQ(error_of([&] { Engine::load(model, {.precision = "fp16"}); }),
            "[precision] no precision is named 'fp16'. On a CPU there are: f32, bf16");
  ASSERT_EQ(setenv("TWOFOUR_PRECISION", "int4", 1), 0);
  EXPECT_THAT(error_of([&] { Engine::load(model); }),
              HasSubstr("[TWOFOUR_PRECISION] no precision is named 'int4'"));
  ASSERT_EQ(unsetenv("TWOFOUR_PRECISION"), 0);
  EXPECT_EQ(engine_->options().precision, "f32");
  EXPECT_EQ(engine_->options().attention, "f32");
}

TEST_F(Errors, OfABatch) {
  EXPECT_EQ(error({1, 2}, {0, 0}, {0, 2}), "no error");
  EXPECT_THAT(error({1, 999}, {0, 0}, {0, 2}), HasSubstr("id 999 of token 1 is outside [0, 211)"));
  EXPECT_THAT(error({1, -1}, {0, 0}, {0, 2}), HasSubstr("id -1 of token 1 is outside"));
  EXPECT_THAT(error({1, 2}, {0, 2}, {0, 2}), HasSubstr("type id 2 of token 1 is outside [0, 2)"));
  EXPECT_THAT(error({1, 2}, {0}, {0, 2}), HasSubstr("there are 2 ids but 1 type ids"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {1, 2}), HasSubstr("offsets start at 1"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 2, 2}, 6), HasSubstr("sequence 1 is empty"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 2, 1}, 6), HasSubstr("offsets descend from 2 to 1"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 3}), HasSubstr("offsets end at 3 but there are 2 ids"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 2}, 4), HasSubstr("output has 4 floats: expected [1, 3]"));
  const std::vector<int32_t> many(65, 1), types(65, 0);
  EXPECT_THAT(error(many, types, {0, 65}),
              HasSubstr("sequence 0 has 65 tokens, the model has 64 positions"));
}

TEST_F(Errors, NoSequenceIsNone) {
  EXPECT_EQ(error({}, {}, {}, 0), "no error");
  EXPECT_EQ(error({}, {}, {0}, 0), "no error");
  EXPECT_THAT(error({1}, {0}, {0}, 0), HasSubstr("there are 1 ids but no sequence"));
}

TEST_F(Errors, AfterAnErrorTheSessionWorks) {
  EXPECT_NE(error({1, 999}, {0, 0}, {0, 2}), "no error");
  EXPECT_EQ(error({1, 2}, {0, 0}, {0, 2}), "no error");
}

TEST(EngineErrors, AnUntrainedHead) {
  const ModelDirectory model = ModelDirectory::open(golden_path("minilm") / "model");
  EXPECT_THAT(error_of([&] { Engine::load(model.with_head(HeadKind::kClassification, 3)); }),
              testing::AllOf(HasSubstr("classifier.weight"), HasSubstr("Train the model first")));
}

TEST(EngineErrors, UnknownKernel) {
  EXPECT_THAT(
      error_of([] { Engine::load(golden_path("minilm") / "model", {.force_kernel = "no_such"}); }),
      HasSubstr("no kernel is named 'no_such'"));
}

TEST(EngineErrors, ReadersOfOneValueDisagree) {
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
  const auto path = std::filesystem::path(testing::TempDir()) / "disagree";
  save_model_directory(path, save);
  EXPECT_THAT(error_of([&] { Engine::load(path); }),
              testing::AllOf(HasSubstr(name), HasSubstr("must have one input scale")));
}

TEST(Engine, WarnsOfLayersThatItDoesNotRead) {
  const auto path =
      std::filesystem::path(testing::TempDir()) / ("more_layers_" + std::to_string(getpid()));
  std::filesystem::remove_all(path);
  std::filesystem::copy(golden_path("cross-encoder") / "model", path);
  std::string config = read_file(path / "config.json");
  const std::string layers = "\"num_hidden_layers\": ";
  config.replace(config.find(layers), layers.size() + 1, layers + "1");
  write_file_atomically(path / "config.json", config);
  EXPECT_THAT(Engine::load(path)->warnings(),
              testing::ElementsAre(testing::AllOf(
                  HasSubstr("encoder that are not read: 16, the first is " + path.string() +
                            "/model.safetensors: "),
                  HasSubstr("encoder.layer.1.attention.output.LayerNorm.bias: config.json has "
                            "num_hidden_layers 1"))));
  std::filesystem::remove_all(path);
}

TEST(Engine, WarnsOfAPrecisionThatNoLayerHas) {
  if (!cpu_features().avx512_bf16) GTEST_SKIP() << "bf16 needs AVX-512 BF16";
  const ModelDirectory embedding = int8_model("minilm", 1);
  const auto warnings = [](const ModelDirectory& model, const std::string& precision) {
    return Engine::load(model, {.precision = precision})->warnings();
  };
  EXPECT_THAT(warnings(embedding, "bf16"),
              testing::ElementsAre("precision bf16 has no effect: no layer has float weights"));
  EXPECT_THAT(warnings(embedding, "f32"), testing::IsEmpty());
  EXPECT_THAT(warnings(golden_model("minilm"), "bf16"), testing::IsEmpty());
  const auto classifier = Engine::load(int8_model("cross-encoder", 1), {.precision = "bf16"});
  EXPECT_EQ(classifier->layers().front().type, "int8");
  EXPECT_EQ(classifier->layers().back().type, "bf16");
  EXPECT_THAT(classifier->warnings(), testing::IsEmpty());
  ASSERT_EQ(setenv("TWOFOUR_PRECISION", "bf16", 1), 0);
  EXPECT_THAT(
      Engine::load(embedding)->warnings(),
      testing::ElementsAre("TWOFOUR_PRECISION bf16 has no effect: no layer has float weights"));
  ASSERT_EQ(unsetenv("TWOFOUR_PRECISION"), 0);
}

TEST(Engine, LoadsFromMemory) {
  std::map<std::string, std::string> bytes;
  for (const char* name :
       {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"}) {
    bytes[name] = read_file(golden_path("cross-encoder") / "model" / name);
  }
  std::map<std::string, std::span<const std::byte>> files;
  for (const auto& [name, content] : bytes) files[name] = std::as_bytes(std::span(content));
  auto untokenized = files;
  untokenized.erase("vocab.txt");
  untokenized.erase("tokenizer.json");
  EXPECT_THAT(
      [&] { Engine::load(ModelDirectory::from_memory(untokenized, "a name"))->tokenizer(); },
      testing::ThrowsMessage<Error>(testing::HasSubstr("[a name]")));
  const auto engine = Engine::load(ModelDirectory::from_memory(files, "memory"));
  files.clear();
  bytes.clear();
  const auto golden = Safetensors::open(golden_path("cross-encoder") / "golden.safetensors");
  expect_close(run(engine, golden_tokens(golden).batch()), golden.get("output").as<float>(), 1e-4);
  EXPECT_EQ(engine->tokenizer().vocab_size(), 211);
  EXPECT_THAT(engine->warnings(), testing::IsEmpty());
}

// The classifier on every token: hidden state times its weights.
TEST(Session, TokenClassificationHasARowForEachToken) {
  const ModelDirectory model =
      random_model({64, 2, 128, 2, HeadKind::kTokenClassification}, false, "tokens");
  const auto engine = Engine::load(model),
             hidden = Engine::load(model.with_head(HeadKind::kNone, 0));
  const PackedTokens tokens = random_tokens(engine->network(), 9, 3, 60);
  const std::vector<float> states = run(hidden, tokens.batch()),
                           found = run(engine, tokens.batch());
  const auto weight = model.tensor("classifier.weight").as<float>();
  const auto bias = model.tensor("classifier.bias").as<float>();
  const auto labels = static_cast<size_t>(engine->output_width());
  ASSERT_EQ(labels, bias.size());
  ASSERT_EQ(found.size(), tokens.ids.size() * labels);
  std::vector<float> want;
  for (size_t token = 0; token < tokens.ids.size(); ++token) {
    for (size_t label = 0; label < labels; ++label) {
      double sum = bias[label];
      for (size_t i = 0; i < 64; ++i)
        sum += double{states[token * 64 + i]} * weight[label * 64 + i];
      want.push_back(static_cast<float>(sum));
    }
  }
  expect_close(found, want, 1e-4);
}

// Many chunks, and for each token a row of output.
TEST(Session, BatchGivesWhatItsSequencesGiveAlone) {
  const ModelDirectory model = ModelDirectory::open(golden_path("minilm") / "model");
  const auto engine = Engine::load(model.with_head(HeadKind::kNone, 0));
  const PackedTokens tokens = random_tokens(engine->network(), 40, 3, 60);
  std::vector<float> want;
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i) {
    const int32_t begin = tokens.offsets[i], length = tokens.offsets[i + 1] - begin;
    const std::vector<int32_t> offsets = {0, length};
    const std::vector<float> alone =
        run(engine, {std::span(tokens.ids).subspan(begin, length),
                     std::span(tokens.type_ids).subspan(begin, length), offsets});
    want.insert(want.end(), alone.begin(), alone.end());
  }
  for (int threads : {1, 2, 3}) EXPECT_EQ(run(engine, tokens.batch(), threads), want);
}

// Also with more threads than the machine has cores.
TEST(Session, ManyOfOneEngineAtOnce) {
  const auto engine = Engine::load(int8_model("cross-encoder", 2));
  const std::vector<int> threads = {1, 2, 1, available_cores() + 2};
  std::vector<PackedTokens> tokens;
  std::vector<std::vector<float>> want, found(threads.size());
  for (size_t i = 0; i < threads.size(); ++i) {
    tokens.push_back(random_tokens(engine->network(), 5 + static_cast<int>(i), i, 60));
    want.push_back(run(engine, tokens[i].batch()));
  }
  {
    std::vector<std::jthread> sessions;
    for (size_t i = 0; i < threads.size(); ++i) {
      sessions.emplace_back([&, i] {
        Session session(engine, {threads[i]});
        std::vector<float> output(want[i].size());
        for (int turn = 0; turn < 10; ++turn) session.run(tokens[i].batch(), output);
        found[i] = output;
      });
    }
  }
  EXPECT_EQ(found, want);
}

TEST(Session, SmallBatchesAfterLargeOnes) {
  const auto engine = Engine::load(int8_model("cross-encoder", 2));
  Session session(engine, {3});
  for (int sequences : {40, 1, 7, 2, 60, 3}) {
    const PackedTokens tokens = random_tokens(engine->network(), sequences, sequences, 60);
    std::vector<float> output(sequences * engine->output_width());
    session.run(tokens.batch(), output);
    EXPECT_EQ(output, run(engine, tokens.batch(), 1));
  }
}

}  // namespace
}  // namespace twofour
