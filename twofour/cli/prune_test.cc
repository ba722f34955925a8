#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "twofour/cli/testing/model_with_intermediate.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/io/model_directory.h"
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
    std::vector<std::string> command = {
        "prune", model("cross-encoder"), "--out", scratch("pairing") / "model", "--share-rows", "2",
        "--json"};
    if (!pairing.empty()) command.insert(command.end(), {"--pairing", pairing});
    const Outcome outcome = run_command(command);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const json printed = json::parse(outcome.out);
    double sum = 0;
    for (const json& layer : printed.at("layers")) sum += layer["energy_lost"].get<double>();
    return sum;
  };
  const double nearby = lost("nearby");
  EXPECT_LT(nearby, lost("adjacent"));
  const double least = lost("least_energy");
  EXPECT_GT(nearby, least);
  EXPECT_EQ(lost("least-energy"), least);
  EXPECT_EQ(lost(""), least);
}

TEST(Prune, WarnsOfATokenizerThatWillBeRefused) {
  const auto folder = scratch("prune-tokenizer"), copy = folder / "model";
  std::filesystem::copy(model("minilm"), copy, std::filesystem::copy_options::recursive);
  const auto err = [&] {
    return run_command({"prune", copy, "--out", folder / "pruned", "--force"}).err;
  };
  EXPECT_THAT(err(), Not(HasSubstr("warning")));
  spill(copy / "vocab.txt", slurp(copy / "vocab.txt") + "more\n");
  EXPECT_THAT(err(), HasSubstr("warning: the result will read no text: ["));
  std::filesystem::remove(copy / "vocab.txt");
  std::filesystem::remove(copy / "tokenizer.json");
  EXPECT_THAT(err(), HasSubstr("vocab.txt] no such file"));
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

}  // namespace
}  // namespace twofour::cli
