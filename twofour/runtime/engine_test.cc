#include "twofour/runtime/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/runtime/test_models.h"
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
  const ModelDirectory model = golden_model(GetParam());
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

TEST(EngineErrors, UnknownPrecision) {
  const auto model = golden_path("cross-encoder") / "model";
  EXPECT_EQ(error_of([&] { Engine::load(model, {.precision = "fp16"}); }),
            "[precision] no precision is named 'fp16'. On a CPU there are: f32, bf16");
  ASSERT_EQ(setenv("TWOFOUR_PRECISION", "int4", 1), 0);
  EXPECT_THAT(error_of([&] { Engine::load(model); }),
              HasSubstr("[TWOFOUR_PRECISION] no precision is named 'int4'"));
  ASSERT_EQ(unsetenv("TWOFOUR_PRECISION"), 0);
  const auto engine = Engine::load(model);
  EXPECT_EQ(engine->options().precision, "f32");
  EXPECT_EQ(engine->options().attention, "f32");
}

TEST(EngineErrors, AnUntrainedHead) {
  const ModelDirectory model = golden_model("minilm");
  EXPECT_THAT(error_of([&] { Engine::load(model.with_head(HeadKind::kClassification, 3)); }),
              testing::AllOf(HasSubstr("classifier.weight"), HasSubstr("Train the model first")));
}

TEST(EngineErrors, UnknownKernel) {
  EXPECT_THAT(
      error_of([] { Engine::load(golden_path("minilm") / "model", {.force_kernel = "no_such"}); }),
      HasSubstr("no kernel is named 'no_such'"));
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

}  // namespace
}  // namespace twofour
