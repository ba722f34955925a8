#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "twofour/cli/testing/model_with_intermediate.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/io/model_directory.h"
#include "twofour/io/safetensors.h"
#include "twofour/io/testing.h"
#include "twofour/runtime/test_models.h"

namespace twofour::cli {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Inspect, ListsLayersAndSizes) {
  const Outcome outcome = run_command({"inspect", model("cross-encoder")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("classification, 3 labels"));
  EXPECT_THAT(outcome.out, HasSubstr("encoder.layer.1.output.dense"));
  EXPECT_THAT(outcome.out, HasSubstr("none: head: stays dense"));
}

TEST(Inspect, ForetellsTheFileOfTheInt8Model) {
  for (const char* layout : {"bert-uncased", "bge", "minilm", "cross-encoder"}) {
    const auto inspect = [](const std::string& path) {
      return json::parse(run_command({"inspect", path, "--json"}).out);
    };
    const auto written = scratch("foretold") / "model";
    write_int8_model(ModelDirectory::open(model(layout)), written, /*share_rows=*/1);
    const std::string file = slurp(written / "model.safetensors");
    uint64_t header = 0;
    std::memcpy(&header, file.data(), sizeof header);
    const uint64_t expected = file.size() - sizeof header - header;
    EXPECT_EQ(inspect(model(layout))["weight_file_bytes_after"], expected) << layout;
    EXPECT_EQ(inspect(written)["weight_file_bytes_after"], expected) << layout;
  }
}

TEST(Inspect, SaysHowActivationsAreQuantized) {
  const auto inspect = [](const std::string& path, const std::string& expected) {
    const Outcome text = run_command({"inspect", path});
    EXPECT_THAT(text.out, HasSubstr("activations   " + expected + "\n"));
    const json report = json::parse(run_command({"inspect", path, "--json"}).out);
    EXPECT_EQ(report["activations"], expected);
    EXPECT_TRUE(report.contains("memory_bytes")) << "the engine runs it";
  };
  const ModelDirectory dense = ModelDirectory::open(model("minilm"));
  const ModelDirectory int8 = write_int8_model(dense, scratch("activations") / "model", 1);
  inspect(model("minilm"), "float");
  inspect(int8.path(), "int8 symmetric static per-tensor");
  inspect(without_input_scales(int8).path(), "int8 symmetric dynamic per-token");
}

// Of a model whose rows share no pattern by chance, as those of smaller ones do.
TEST(Inspect, ForetellsTheMemoryOfTheInt8Model) {
  const auto inspect = [](const std::string& path) {
    return json::parse(run_command({"inspect", path, "--json"}).out);
  };
  const std::string dense = model("cross-encoder");
  const auto folder = scratch("memory");
  for (const int share_rows : {0, 1, 2}) {
    write_int8_model(ModelDirectory::open(dense), folder / std::to_string(share_rows), share_rows);
  }
  ASSERT_EQ(run_command({"prune", dense, "--out", folder / "pruned"}).code, 0);
  const json expected = inspect(folder / "1")["memory_bytes"];
  for (const std::string& path : {dense, (folder / "0").string(), (folder / "pruned").string()}) {
    const json report = inspect(path);
    EXPECT_EQ(report["memory_bytes_after"], expected) << path;
    EXPECT_GT(report["memory_bytes"], expected) << path;
  }
  for (const char* sparse : {"1", "2"}) {
    const json report = inspect(folder / sparse);
    EXPECT_EQ(report["memory_bytes_after"], report["memory_bytes"]) << sparse;
  }
  EXPECT_THAT(run_command({"inspect", dense}).out,
              ContainsRegex("\nmemory +[0-9.]+ kB now, [0-9.]+ kB as 2:4 int8, packed for this "
                            "machine\n"));
}

TEST(Inspect, EveryLayoutParsesAsJson) {
  for (const char* layout : {"bert-cased", "bert-chinese", "bge", "minilm", "multilingual",
                             "cross-encoder-regression"}) {
    const Outcome outcome = run_command({"inspect", model(layout), "--json"});
    ASSERT_EQ(outcome.code, 0) << layout << outcome.err;
    EXPECT_GE(json::parse(outcome.out)["layers"].size(), 12) << layout;
  }
}

TEST(Inspect, NamesThatAreNotUtf8AreReplacedInJson) {
  const auto folder = scratch("utf8") / "a\xff";
  std::filesystem::copy(model("minilm"), folder, std::filesystem::copy_options::recursive);
  const Outcome outcome = run_command({"inspect", folder, "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(json::parse(outcome.out)["model"].get<std::string>(),
              testing::EndsWith("a\xEF\xBF\xBD"));
}

TEST(Inspect, SaysWhichLayerStaysDenseAndWhy) {
  const Outcome outcome = run_command({"inspect", model_with_intermediate(30)});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("k = 30 is not a multiple of 4"));
}

// The pooler, which an embedding head does not use.
TEST(Inspect, CountsTensorsThatTheNetworkDoesNotRead) {
  const Outcome outcome = run_command({"inspect", model("minilm")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\nunused        2 tensors, "));
  EXPECT_EQ(json::parse(run_command({"inspect", model("minilm"), "--json"}).out)["unused_tensors"],
            2);
  EXPECT_THAT(run_command({"inspect", model("cross-encoder")}).out, Not(HasSubstr("unused")));
}

// A copy of the golden model whose vocabulary lacks its last token.
std::string model_with_short_vocabulary() {
  const auto folder = scratch("short-vocabulary") / "model";
  std::filesystem::copy(model("cross-encoder"), folder);
  std::string vocabulary = slurp(folder / "vocab.txt");
  vocabulary.pop_back();
  vocabulary.resize(vocabulary.rfind('\n') + 1);
  spill(folder / "vocab.txt", vocabulary);
  return folder;
}

TEST(Inspect, WarnsOfRowsWithoutATokenAsEngineLoadsDo) {
  const std::string folder = model_with_short_vocabulary();
  const std::string warning = "warning: " + folder +
                              "/vocab.txt has 210 tokens, the model's vocab_size is 211: right if "
                              "the other rows are padding";
  const Outcome inspected = run_command({"inspect", folder});
  EXPECT_EQ(inspected.code, 0) << inspected.err;
  EXPECT_THAT(inspected.err, HasSubstr(warning));
  EXPECT_THAT(run_command({"predict", folder}, "query\tdocument\nred\tlamp\n").err,
              HasSubstr(warning));
}

// One convolution, 2:4 along its 8 input channels.
void write_convolution(const std::filesystem::path& path) {
  Tensor conv(DType::kF32, {32, 8, 3, 3}), bias(DType::kF32, {32});
  for (int64_t i = 0; i < conv.numel(); ++i) conv.as<float>()[i] = i / 9 % 4 < 2 ? 1.0f : 0.0f;
  std::memset(bias.data(), 0, bias.bytes());
  write_safetensors(path, {{"conv1.weight", conv}, {"conv1.bias", bias}});
}

TEST(Inspect, CountsTheConvolutionsOfAFile) {
  const auto file = scratch("weights") / "net.safetensors";
  write_convolution(file);
  const Outcome text = run_command({"inspect", file});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("2:4 along input channels: 1 of 1 weight\n"));
  const json report = json::parse(run_command({"inspect", file, "--json"}).out);
  EXPECT_EQ(report["sparse_weights"], 1);
  const json& weight = report["weights"].at(0);
  EXPECT_EQ(weight["name"], "conv1.weight");
  EXPECT_EQ(weight["kernel"], json({3, 3}));
  EXPECT_EQ(weight["groups"], 32 * 9 * 2);
  EXPECT_EQ(weight["groups_2_4"], 32 * 9 * 2);
  EXPECT_EQ(weight["eligible"]["tensorrt"], "k = 8 is not a multiple of 16");
  const json last = json::parse(run_command({"inspect", file, "--json", "--channels-last"}).out);
  EXPECT_EQ(last["sparse_weights"], 0);
  EXPECT_THAT(last["weights"].at(0)["dense"].get<std::string>(), HasSubstr("is no convolution"));
  EXPECT_THAT(run_command({"inspect", model("minilm"), "--channels-last"}).err,
              HasSubstr("has no convolutions, which --channels-last is about"));
  EXPECT_EQ(run_command({"inspect", "net.onnx", "--channels-last"}).code, 2);
}

TEST(Inspect, CountsTheWeightsOfANetworkThatIsNotKnown) {
  const auto folder = scratch("resnet");
  spill(folder / "config.json", R"({"model_type": "resnet"})");
  write_convolution(folder / "model.safetensors");
  const Outcome outcome = run_command({"inspect", folder});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("twofour has no network of model_type 'resnet'"));
  EXPECT_THAT(outcome.out, HasSubstr("conv1.weight"));
  const Outcome last = run_command({"inspect", folder, "--channels-last"});
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_THAT(last.out, HasSubstr("is no convolution"));
}

TEST(Inspect, RefusesAFileWithoutWeights) {
  const auto file = scratch("weights") / "net.safetensors";
  const Tensor bias(DType::kF32, {4});
  write_safetensors(file, {{"conv1.bias", bias}});
  const Outcome outcome = run_command({"inspect", file});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err,
              HasSubstr("net.safetensors] holds no tensor X.weight with two dimensions "
                        "or four. Name a file whose tensors have such names"));
}

TEST(Inspect, RefusesWhatIsNoModel) {
  const Outcome absent = run_command({"inspect", "/nowhere"});
  EXPECT_EQ(absent.code, 1);
  EXPECT_THAT(absent.err, HasSubstr("twofour: [/nowhere"));
  const auto folder = scratch("truncated");
  std::filesystem::copy(golden("bert-uncased/model"), folder,
                        std::filesystem::copy_options::recursive);
  std::filesystem::resize_file(folder / "model.safetensors", 500);
  const Outcome truncated = run_command({"inspect", folder});
  EXPECT_EQ(truncated.code, 1);
  EXPECT_THAT(truncated.err, HasSubstr("model.safetensors"));
}

}  // namespace
}  // namespace twofour::cli
