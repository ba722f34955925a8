// inspect, prune and eval on the small golden models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "twofour/cli/testing/run_command.h"
#include "twofour/graph/network.h"
#include "twofour/io/safetensors.h"
#include "twofour/io/testing.h"
#include "twofour/metrics/scores_file.h"
#include "twofour/runtime/test_models.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// The uncased golden model with another intermediate size and random weights.
std::string model_with_intermediate(int64_t size) {
  const auto folder = scratch("intermediate");
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) {
    std::filesystem::copy_file(golden("bert-uncased/model") / name, folder / name);
  }
  json config = json::parse(slurp(golden("bert-uncased/model/config.json")));
  config["intermediate_size"] = size;
  spill(folder / "config.json", config.dump());
  // The parameters are known from the configuration alone; any directory with it will do to ask for
  // them.
  ModelConfig asked = ModelDirectory::open(model("bert-uncased")).config();
  asked.intermediate_size = size;
  std::mt19937 random(1);
  std::vector<Tensor> tensors;
  std::vector<NamedTensor> named;
  const Network network = build_network(asked);
  tensors.reserve(network.parameters.size());
  for (const Parameter& parameter : network.parameters) {
    Tensor& tensor = tensors.emplace_back(DType::kF32, parameter.shape);
    for (float& value : tensor.as<float>())
      value = static_cast<float>(random() % 1000) / 1000 - 0.5f;
    named.push_back({"bert." + parameter.name, tensor.view()});
  }
  write_safetensors(folder / "model.safetensors", named);
  return folder;
}

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

TEST(Prune, MakesEncoderLayersSparseAndLeavesTheRest) {
  const auto out = scratch("prune") / "model";
  const Outcome outcome =
      run_command({"prune", model("cross-encoder"), "--out", out, "--share-rows", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto before = ModelDirectory::open(model("cross-encoder")),
             after = ModelDirectory::open(out);
  for (const std::string& name : before.tensor_names()) {
    const bool pruned = name.starts_with("encoder.") && name.ends_with(".weight") &&
                        name.find("LayerNorm") == std::string::npos;
    const TensorView a = before.tensor(name), b = after.tensor(name);
    ASSERT_EQ(a.bytes(), b.bytes());
    if (!pruned) {
      EXPECT_EQ(std::memcmp(a.data, b.data, a.bytes()), 0) << name;
      continue;
    }
    EXPECT_FALSE(find_violation(b)) << name;
    EXPECT_GE(sparsity_report(b).share_rows, 2) << name;
    EXPECT_EQ(sparsity_report(b).zeros, 0.5) << name;
  }
  EXPECT_EQ(json::parse(after.twofour_json())["pruning"]["share_rows"], 2);
  EXPECT_EQ(run_command({"eval", out, data()}).code, 0);
}

TEST(Prune, GlobsChooseLayers) {
  const auto out = scratch("prune-globs") / "model";
  const Outcome outcome =
      run_command({"prune", model("cross-encoder"), "--out", out, "--sparsity", "0.25", "--layers",
                   "encoder.layer.*.output.dense", "--keep-dense", "encoder.layer.0.*"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto after = ModelDirectory::open(out);
  EXPECT_EQ(sparsity_report(after.tensor("encoder.layer.0.output.dense.weight")).zeros, 0);
  EXPECT_EQ(sparsity_report(after.tensor("encoder.layer.1.output.dense.weight")).zeros, 0.25);
  EXPECT_EQ(sparsity_report(after.tensor("encoder.layer.1.intermediate.dense.weight")).zeros, 0);
}

TEST(Prune, JsonHoldsTheTableAndTotals) {
  const auto folder = scratch("prune-json");
  const auto prune = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.begin(), {"prune", model("cross-encoder"), "--sparsity", "0.25", "--layers",
                               "encoder.layer.0.*", "--out", folder / out});
    return run_command(more);
  };
  const Outcome outcome = prune("a", {"--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["model"], model("cross-encoder"));
  EXPECT_EQ(report["out"], (folder / "a").string());
  EXPECT_EQ(report["pruning"]["saliency"], "energy");
  EXPECT_DOUBLE_EQ(report["sparsity"], 0.25);
  const auto rows = lines(prune("b", {}).out);
  ASSERT_EQ(report["layers"].size(), rows.size() - 2);  // header and rule
  int64_t weights = 0;
  for (size_t i = 0; i < report["layers"].size(); ++i) {
    const json& layer = report["layers"][i];
    weights += layer["n"].get<int64_t>() * layer["k"].get<int64_t>();
    EXPECT_THAT(rows[i + 2],
                AllOf(StartsWith(layer["name"].get<std::string>() + " "),
                      EndsWith(fmt::format(" {:.1f}", layer["energy_lost"].get<double>() * 100))));
  }
  EXPECT_EQ(report["weights"], weights);
}

TEST(Prune, LayerThatCannotBeSparseStaysDenseUnlessAskedForByName) {
  const std::string odd = model_with_intermediate(30);
  const auto out = scratch("prune-odd") / "model";
  const Outcome warned = run_command({"prune", odd, "--out", out});
  EXPECT_EQ(warned.code, 0) << warned.err;
  EXPECT_THAT(warned.err,
              HasSubstr("encoder.layer.0.output.dense stays dense: k = 30 is not a multiple of 4"));
  std::filesystem::remove_all(out);
  const Outcome refused =
      run_command({"prune", odd, "--out", out, "--layers", "encoder.layer.0.output.dense"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.err, "twofour: [" + odd +
                             "] encoder.layer.0.output.dense cannot be pruned: k = 30 is not a "
                             "multiple of 4. Leave it out of --layers: it stays dense\n");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Prune, DoesNotReplaceItsModelOrWhatIsNone) {
  const auto folder = scratch("prune-replace");
  const auto source = folder / "model";
  std::filesystem::copy(model("cross-encoder"), source, std::filesystem::copy_options::recursive);
  const std::string weights = slurp(source / "model.safetensors");
  for (const std::string& out : {source.string(), source.string() + "/", source.string() + "/."}) {
    const Outcome outcome = run_command({"prune", source, "--out", out});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("is the model itself"));
  }
  EXPECT_TRUE(slurp(source / "model.safetensors") == weights);
  std::filesystem::create_directory(folder / "other");
  spill(folder / "other/config.json", "{}");
  EXPECT_THAT(run_command({"prune", source, "--out", folder / "other"}).err,
              HasSubstr("holds config.json, but no weights"));
  EXPECT_EQ(slurp(folder / "other/config.json"), "{}");
  const Outcome unnamed = run_command({"prune", source, "--out", ""});
  EXPECT_EQ(unnamed.code, 2);
  EXPECT_THAT(unnamed.err, HasSubstr("--out: expected a name, found nothing"));
}

// Nobody makes folders there; what the system says differs between root and others.
TEST(Prune, SaysWhyAPlaceCannotBeWritten) {
  const Outcome outcome = run_command({"prune", model("minilm"), "--out", "/proc/twofour-model"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err,
              ContainsRegex("twofour: \\[/proc[^]]*] cannot be written: [A-Z][a-z ]+"));
  EXPECT_THAT(outcome.err, Not(HasSubstr(".tmp.")));
}

TEST(Prune, ReplacesAnotherModelIfToldTo) {
  const auto out = scratch("prune-force") / "model";
  const auto prune = [&](const std::string& layout, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"prune", model(layout), "--out", out});
    return run_command(more);
  };
  std::filesystem::create_directory(out);  // empty: nothing is lost
  ASSERT_EQ(prune("cross-encoder").code, 0);
  const std::string weights = slurp(out / "model.safetensors");
  const Outcome refused = prune("bert-uncased");
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("model] holds a model already. Name another folder, or give "
                                     "--force"));
  EXPECT_TRUE(slurp(out / "model.safetensors") == weights);
  EXPECT_EQ(prune("bert-uncased", {"--force"}).code, 0);
  EXPECT_FALSE(slurp(out / "model.safetensors") == weights);
}

TEST(Prune, TheMoreRowsToChooseFromTheLessIsLost) {
  const auto lost = [](const std::string& pairing) {
    const Outcome outcome =
        run_command({"prune", model("cross-encoder"), "--out", scratch("pairing") / pairing,
                     "--share-rows", "2", "--pairing", pairing, "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const json printed = json::parse(outcome.out);
    double sum = 0;
    for (const json& layer : printed.at("layers")) sum += layer["energy_lost"].get<double>();
    return sum;
  };
  const double nearby = lost("nearby");
  EXPECT_LT(nearby, lost("adjacent"));
  EXPECT_GT(nearby, lost("least-energy"));
}

TEST(Prune, RefusesWrongInput) {
  const std::string out = scratch("prune-wrong") / "model";
  const auto fails = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"prune", model("cross-encoder"), "--out", out});
    return run_command(more);
  };
  EXPECT_THAT(fails({"--layers", "decoder.*"}).err,
              HasSubstr("no linear layer is called decoder.*"));
  EXPECT_THAT(fails({"--layers", "classifier"}).err,
              HasSubstr("/model] classifier cannot be pruned"));
  EXPECT_EQ(fails({"--sparsity", "0.6"}).code, 2);
  EXPECT_EQ(fails({"--share-rows", "3"}).code, 2);
  EXPECT_EQ(fails({"--pairing", "random"}).code, 2);
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Eval, WritesScoresAndARunThatEvaluatesToTheSame) {
  const auto folder = scratch("eval");
  const Outcome outcome = run_command({"eval", model("cross-encoder"), data(), "--json", "--scores",
                                       folder / "s.jsonl.zst", "--run", folder / "run.trec.zst",
                                       "--out", folder / "eval.json", "--threads", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result, json::parse(slurp(folder / "eval.json")));
  EXPECT_EQ(result["pairs"], 192);
  EXPECT_GT(result["metrics"]["ndcg@10"], 0.3);
  const Outcome again =
      run_command({"eval", "--trec-run", folder / "run.trec.zst", data(), "--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  const json run = json::parse(again.out);
  EXPECT_EQ(run["metrics"]["pnr"], result["metrics"]["pnr"]);
  EXPECT_EQ(run["metrics"]["ndcg@10"], result["metrics"]["ndcg@10"]);
  EXPECT_FALSE(run["metrics"].contains("accuracy"));
  EXPECT_EQ(run_command({"compare", folder / "s.jsonl.zst", folder / "s.jsonl.zst",
                         "--non-inferior", "pnr=-1%"})
                .code,
            0);
  EXPECT_THAT(run_command({"compare", folder / "s.jsonl.zst", folder / "eval.json"}).err,
              HasSubstr("eval.json] is a result of twofour eval --out"));
}

// As the trainer's evaluations do.
TEST(Eval, TheLargestLabelIsRelevantWhereNoneIs2) {
  const auto folder = scratch("eval-binary");
  const std::string header = "query\tdocument\tlabel\n";
  const auto eval = [&](const std::string& rows, std::vector<std::string> more) {
    spill(folder / "data.tsv", header + rows);
    more.insert(more.begin(), {"eval", model("minilm"), folder / "data.tsv"});
    const Outcome outcome = run_command(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string binary = "q\tgood\t1\nq\tbad\t0\n";
  const json result = json::parse(eval(binary, {"--json"}));
  EXPECT_EQ(result["relevant_label"], 1);
  EXPECT_EQ(result["metrics"]["recall@345"], 1);
  EXPECT_THAT(eval(binary, {}), HasSubstr("2 pairs of 1 query, relevant from label 1 on in "));
  EXPECT_FALSE(
      json::parse(eval(binary, {"--json", "--relevant", "2"}))["metrics"].contains("recall@345"));
  EXPECT_EQ(json::parse(eval("q\tgood\t3\nq\tbad\t0\n", {"--json"}))["relevant_label"], 2);
  const json degrees = json::parse(eval("q\tgood\t0.9\nq\tfair\t0.8\nq\tbad\t0\n", {"--json"}));
  EXPECT_FALSE(degrees["metrics"].contains("recall@345"));
  EXPECT_TRUE(degrees["metrics"].contains("ndcg@10"));
}

TEST(Eval, SaysHowManyPairsRepeat) {
  const auto path = scratch("eval-repeated") / "data.tsv";
  spill(path, "query\tdocument\tlabel\nq\tgood\t1\nq\tbad\t0\nq\tgood\t1\n");
  const Outcome outcome = run_command({"eval", model("minilm"), path});
  EXPECT_THAT(outcome.out, HasSubstr("2 pairs of 1 query"));
  EXPECT_THAT(outcome.err,
              HasSubstr("pairs of " + path.string() +
                        " that repeat others with the same label, and count once: 1\n"));
}

TEST(Eval, EmbeddingModelsAreRankedByTheirProduct) {
  const Outcome outcome = run_command({"eval", model("minilm"), data()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("ndcg@10"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("accuracy")));
}

TEST(Eval, ATunedThresholdDecides) {
  const auto folder = scratch("eval-tune");
  const Outcome tuned =
      run_command({"eval", model("minilm"), data(), "--json", "--tune-threshold", "accuracy"});
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  const json best = json::parse(tuned.out);
  const std::string threshold = best["score_threshold"].dump();
  const Outcome given =
      run_command({"eval", model("minilm"), data(), "--json", "--score-threshold", threshold});
  EXPECT_EQ(json::parse(given.out)["metrics"], best["metrics"]);
  const Outcome none =
      run_command({"eval", model("minilm"), data(), "--json", "--score-threshold", "9"});
  EXPECT_GE(best["metrics"]["accuracy"], json::parse(none.out)["metrics"]["accuracy"]);
  const Outcome classes =
      run_command({"eval", model("cross-encoder"), data(), "--tune-threshold", "f1"});
  EXPECT_EQ(classes.code, 1);
  EXPECT_THAT(classes.err, HasSubstr("has classes"));
  const Outcome unused =
      run_command({"eval", model("cross-encoder"), data(), "--score-threshold", "0.5"});
  EXPECT_EQ(unused.code, 1);
  EXPECT_THAT(unused.err, HasSubstr("has classes: they decide, not a threshold. Leave "
                                    "--score-threshold out"));
  for (const std::string option : {"--score-threshold", "--relevant"}) {
    for (const std::string value : {"nan", "inf", "1e39"}) {
      const Outcome outcome = run_command({"eval", model("minilm"), data(), option, value});
      EXPECT_EQ(outcome.code, 2);
      EXPECT_THAT(outcome.err, HasSubstr(option + ": expected a number, found " + value));
    }
  }
  EXPECT_EQ(run_command({"eval", model("minilm"), data(), "--tune-threshold", "pnr"}).code, 2);
}

// Both have query q1 and documents d1 and d2, with the same labels.
TEST(Eval, RunsAndScoresOfOtherDataAreRefused) {
  const auto folder = scratch("eval-other-data");
  for (const std::string name : {"a", "b"}) {
    spill(folder / (name + ".tsv"),
          "query\tdocument\tlabel\n" + name + "\tgood\t2\n" + name + "\tbad\t0\n");
    const Outcome outcome =
        run_command({"eval", model("minilm"), folder / (name + ".tsv"), "--scores",
                     folder / (name + ".jsonl"), "--run", folder / (name + ".run")});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  const auto of_run = [&](const char* data) {
    return run_command({"eval", "--trec-run", folder / "a.run", folder / data});
  };
  EXPECT_EQ(of_run("a.tsv").code, 0);
  EXPECT_EQ(of_run("b.tsv").code, 1);
  EXPECT_THAT(of_run("b.tsv").err, HasSubstr("a.run] is of other data than "));
  const Outcome compared = run_command({"compare", folder / "a.jsonl", folder / "b.jsonl"});
  EXPECT_EQ(compared.code, 1);
  EXPECT_THAT(compared.err, HasSubstr("b.jsonl] has the checksum of other data than "));
}

TEST(Eval, WhatARunHasBesidesTheDataIsNamed) {
  const auto folder = scratch("eval-more");
  spill(folder / "data.tsv", "query\tdocument\tlabel\tquery_id\tdocument_id\nq\td\t2\tA\t1\n");
  const auto of_run = [&](const std::string& rows) {
    spill(folder / "run", "A Q0 1 1 2 t\n" + rows);
    return run_command({"eval", "--trec-run", folder / "run", folder / "data.tsv"});
  };
  const Outcome queries = of_run("B Q0 1 1 2 t\n");
  EXPECT_EQ(queries.code, 0);
  EXPECT_THAT(queries.err, AllOf(HasSubstr("1 of 2 queries of "),
                                 HasSubstr("data.tsv, and passed over, the first is 'B'")));
  const Outcome pairs = of_run("A Q0 2 2 1 t\n");
  EXPECT_EQ(pairs.code, 1);
  EXPECT_THAT(pairs.err, AllOf(HasSubstr("run] 1 of 2 pairs of the run are not in "),
                               HasSubstr("the first is document '2' of query 'A'"),
                               HasSubstr("--collection counts")));
}

TEST(Eval, RunsOverACollectionNeedNotHoldAllJudgedPairs) {
  const auto folder = scratch("eval-collection");
  spill(folder / "data.tsv",
        "query\tdocument\tlabel\tquery_id\tdocument_id\n"
        "q\td1\t2\tq1\td1\nq\td2\t2\tq1\td2\nr\td1\t2\tq2\td1\n");
  spill(folder / "run", "q1 Q0 unjudged 1 9 t\nq1 Q0 d1 2 8 t\nelsewhere Q0 d1 1 1 t\n");
  const std::vector<std::string> command = {"eval", "--trec-run", folder / "run",
                                            folder / "data.tsv", "--json"};
  EXPECT_EQ(run_command(command).code, 1);
  auto collection = command;
  collection.emplace_back("--collection");
  const Outcome outcome = run_command(collection);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_DOUBLE_EQ(json::parse(outcome.out)["metrics"]["recall@345"], 1 / 3.0);
  EXPECT_DOUBLE_EQ(json::parse(outcome.out)["metrics"]["f1@345"], 2 / 5.0);
  EXPECT_THAT(outcome.err, HasSubstr("nothing was found for them, the first is 'q2'"));
  EXPECT_EQ(run_command({"eval", model("minilm"), data(), "--collection"}).code, 2);
  spill(folder / "run", "elsewhere Q0 d1 1 1 t\n");
  const Outcome foreign = run_command(collection);
  EXPECT_EQ(foreign.code, 1);
  EXPECT_THAT(foreign.err, HasSubstr("run] no query of the run is in "));
  EXPECT_THAT(foreign.err, HasSubstr("ids are such as 'elsewhere' here, 'q1' there"));
  spill(folder / "data.tsv", "query\tdocument\tlabel\nq\td1\t2\nq\td2\t2\n");
  spill(folder / "run", "q1 Q0 d1 1 9 t\nq1 Q0 unjudged 2 8 t\n");
  EXPECT_THAT(run_command(collection).err,
              HasSubstr("run] is of other data: 1 of 2 pairs of the run are not in "));
}

TEST(Eval, PredictedPerformanceIsComparedWithTheActual) {
  const auto folder = scratch("eval-performance");
  const std::string header = "query\tdocument\tlabel\n";
  spill(folder / "data.tsv", header + "q\td1\t0.2\nr\td2\t0.9\ns\td3\t0.4\nt\td4\t0.8\n");
  spill(folder / "run", "q1 Q0 d1 1 0.1 t\nq2 Q0 d2 1 0.4 t\nq3 Q0 d3 1 0.2 t\nq4 Q0 d4 1 0.3 t\n");
  QueryScores costly{"costly"};
  for (const auto& [id, ndcg] : {std::pair{"q1", .7}, {"q2", .9}, {"q3", .5}, {"q4", .7}})
    costly.queries.push_back({.query_id = id, .ndcg = ndcg, .ndcg_defined = true});
  write_scores_file(folder / "costly.jsonl", costly);
  std::vector<std::string> command = {"eval",   "--trec-run",   folder / "run", folder / "data.tsv",
                                      "--json", "--performance"};
  const json alone = json::parse(run_command(command).out)["metrics"];
  EXPECT_NEAR(alone["spearman"].get<double>(), 1, 1e-12);
  EXPECT_EQ(alone["smare"], 0);
  EXPECT_NEAR(alone["ordered_ndcg"].get<double>(), 1, 1e-12);
  EXPECT_FALSE(alone.contains("pnr") || alone.contains("delivery"));
  command.insert(command.end(), {"--costly", folder / "costly.jsonl"});
  const Outcome outcome = run_command(command);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json metrics = json::parse(outcome.out)["metrics"];
  EXPECT_NEAR(metrics["delivery"].get<double>(), (.7 + .9 + .5 + .8) / 4, 1e-6);
  EXPECT_NEAR(metrics["delivery_fixed"].get<double>(), (.2 + .9 + .4 + .8 + .7 + .9 + .5 + .7) / 8,
              1e-6);
  costly.queries.push_back({.query_id = "q5", .ndcg = .5, .ndcg_defined = true});
  write_scores_file(folder / "costly.jsonl", costly);
  EXPECT_THAT(run_command(command).err,
              AllOf(HasSubstr("costly.jsonl] has scores of 5 queries, but "),
                    HasSubstr("data.tsv, where ids are numbers by place, has 4")));
  costly.queries.resize(3);
  write_scores_file(folder / "costly.jsonl", costly);
  EXPECT_THAT(run_command(command).err, HasSubstr("has no ndcg of query 'q4'"));
  spill(folder / "data.tsv", header + "q\td1\t0.2\nq\td2\t0.9\n");
  spill(folder / "run", "q1 Q0 d1 1 0.1 t\nq1 Q0 d2 2 0.05 t\n");
  EXPECT_THAT(run_command(command).err, HasSubstr("query 'q1' has more than one row"));
  command.insert(command.end(), {"--tune-threshold", "f1"});
  EXPECT_EQ(run_command(command).code, 2);
}

TEST(Eval, PoolsFoldsOfDifferentQueries) {
  const auto folder = scratch("eval-pool");
  const auto fold = [&](const std::string& name, const std::string& query,
                        const std::string& label = "2") {
    spill(folder / (name + ".tsv"), "query\tdocument\tlabel\tquery_id\n" + query + "\tgood\t" +
                                        label + "\t" + query + "\n" + query + "\tbad\t0\t" + query +
                                        "\n");
    const Outcome outcome = run_command({"eval", model("cross-encoder"), folder / (name + ".tsv"),
                                         "--scores", folder / (name + ".jsonl.zst")});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return (folder / (name + ".jsonl.zst")).string();
  };
  const std::string a = fold("a", "one"), b = fold("b", "two");
  const Outcome pooled =
      run_command({"eval", "--pool", a, b, "--json", "--scores", folder / "all.jsonl.zst"});
  ASSERT_EQ(pooled.code, 0) << pooled.err;
  EXPECT_EQ(json::parse(pooled.out)["queries"], 2);
  EXPECT_EQ(json::parse(pooled.out)["pairs"], 4);
  EXPECT_EQ(run_command({"eval", "--pool", folder / "all.jsonl.zst", "--json"}).code, 0);
  const Outcome other = run_command({"eval", "--pool", a, fold("c", "three", "1")});
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, AllOf(HasSubstr("c.jsonl.zst] was evaluated with other metric options"),
                               HasSubstr("--relevant too")));
  const Outcome twice = run_command({"eval", "--pool", a, b, a});
  EXPECT_EQ(twice.code, 1);
  EXPECT_THAT(twice.err, HasSubstr("a.jsonl.zst] query 'one' stands in an earlier file too"));
  EXPECT_EQ(run_command({"eval", "--pool", a, b, "--trec-run", "r"}).code, 2);
}

TEST(Eval, RefusesOutputsBeforeItWorks) {
  const auto folder = scratch("eval-outputs");
  const std::string rows = "query\tdocument\tlabel\nq\td1\t2\nq\td2\t0\n";
  spill(folder / "data.tsv", rows);
  const auto eval = [&](const char* option, const std::string& path) {
    return run_command({"eval", model("minilm"), folder / "data.tsv", option, path});
  };
  for (const char* option : {"--out", "--scores", "--run"}) {
    EXPECT_THAT(eval(option, folder / "data.tsv").err,
                HasSubstr("data.tsv] is an input of this command too"));
    EXPECT_THAT(eval(option, folder / "typo/x.json").err, HasSubstr("there is no folder "));
    EXPECT_EQ(eval(option, "").code, 2);
  }
  EXPECT_EQ(slurp(folder / "data.tsv"), rows);
  EXPECT_FALSE(std::filesystem::exists(folder / "typo"));
  // Files of the model, but for results that belong beside it, and what BEIR's judgments need.
  const auto own = folder / "model";
  std::filesystem::copy(model("minilm"), own, std::filesystem::copy_options::recursive);
  const auto eval_own = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"eval", own, folder / "data.tsv"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  };
  for (const char* name : {"config.json", "model.safetensors", "1_Pooling/config.json"}) {
    const std::string before = slurp(own / name);
    EXPECT_THAT(eval_own({"--out", own / name}).err, HasSubstr("is an input of this command too"));
    EXPECT_EQ(slurp(own / name), before);
  }
  for (int times = 0; times < 2; ++times) EXPECT_EQ(eval_own({"--out", own / "eval.json"}).code, 0);
  EXPECT_THAT(eval_own({"--out", folder / "x", "--scores", folder / "x"}).err,
              HasSubstr("is named for two outputs"));
  std::filesystem::create_directories(folder / "beir/qrels");
  spill(folder / "beir/corpus.jsonl", "");
  EXPECT_THAT(run_command({"eval", model("minilm"), folder / "beir/qrels/test.tsv", "--scores",
                           folder / "beir/corpus.jsonl"})
                  .err,
              HasSubstr("corpus.jsonl] is an input of this command too"));
  EXPECT_EQ(eval("--out", folder / "eval.json").code, 0);
}

TEST(Eval, RefusesWrongInput) {
  EXPECT_EQ(run_command({"eval", model("minilm")}).code, 2);
  EXPECT_EQ(run_command({"eval", "--trec-run", "r", "model", "data"}).code, 2);
  EXPECT_THAT(run_command({"eval", "--trec-run", "r"}).err,
              HasSubstr("--trec-run takes DATA, which is missing"));
  for (const char* option : {"--plans", "--engine"}) {
    EXPECT_EQ(run_command({"eval", "--trec-run", "r", "data", option, "file"}).code, 2) << option;
    EXPECT_EQ(run_command({"eval", "--pool", "r", option, "file"}).code, 2) << option;
  }
  const auto folder = scratch("eval-wrong");
  spill(folder / "labels.tsv", "query\tdocument\tlabel\nq\td\t7\n");
  const Outcome labels = run_command({"eval", model("cross-encoder"), folder / "labels.tsv"});
  EXPECT_EQ(labels.code, 1);
  EXPECT_THAT(labels.err,
              AllOf(HasSubstr("labels.tsv:2] label 7 is no whole number from 0 to 2: "),
                    HasSubstr("cross-encoder/model has num_labels 3. Correct the label, or take")));
  const Outcome headless = run_command({"eval", model("bert-uncased"), data()});
  EXPECT_EQ(headless.code, 1);
  EXPECT_THAT(headless.err, HasSubstr("bert-uncased/model] has no head"));
  EXPECT_THAT(headless.err, HasSubstr("Train it first, for example with recipes/dense.yaml"));
  spill(folder / "run.trec", "q1 Q0 d1 1 0.5 x\n");
  EXPECT_EQ(run_command({"eval", "--trec-run", folder / "run.trec", data()}).code, 1);
}

}  // namespace
}  // namespace twofour::cli
