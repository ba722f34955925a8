#include "twofour/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/graph/network.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/train/calibration.h"
#include "twofour/train/recipe.h"
#include "twofour/train/trainer_test_support.h"

namespace twofour {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
namespace fs = std::filesystem;

std::vector<std::string> prunable_weights(const Network& network) {
  std::vector<std::string> names;
  for (const Op& op : network.ops) {
    if (op.kind == OpKind::kLinear && op.prunable) names.push_back(network.parameter(op, 0).name);
  }
  return names;
}

// --- Shipped recipes ---------------------------------------------------------------------------

class ShippedRecipe : public testing::TestWithParam<const char*> {};

TEST_P(ShippedRecipe, WritesWhatItPromises) {
  const TrainRequest request = small_run(GetParam(), "cross-encoder", GetParam());
  const Stage last = read_recipe(request.recipe).stages.back();
  const TrainSummary summary = run_afresh(request);
  EXPECT_TRUE(summary.finished);
  EXPECT_THAT(summary.dev, Contains(testing::Key("ndcg@10")));

  const ModelDirectory model = ModelDirectory::open(summary.model);
  EXPECT_EQ(model.config().int8, last.write_int8);
  const Network network = build_network(model.config());
  EXPECT_THAT(check_parameters(network, model), IsEmpty());
  for (const std::string& name : prunable_weights(network)) {
    EXPECT_EQ(model.tensor(name).dtype, last.write_int8 ? DType::kI8 : DType::kF32);
    const SparsityReport report = sparsity_report(model.tensor(name));
    if (last.sparsity == 0.5) {
      EXPECT_EQ(report.groups_2_4, 1) << name;
    } else {
      EXPECT_LT(report.groups_2_4, 0.5) << name;
    }
  }
  const auto ours = nlohmann::json::parse(model.twofour_json());
  EXPECT_EQ(ours["recipe"]["name"], GetParam());
  EXPECT_EQ(ours.contains("pruning"), last.sparsity == 0.5);
  EXPECT_FALSE(fs::exists(request.out / "checkpoint"));
}

INSTANTIATE_TEST_SUITE_P(Trainer, ShippedRecipe,
                         testing::Values("dense", "control", "one-shot", "one-shot-kd",
                                         "progressive", "progressive-kd", "one-shot-qat",
                                         "int8-ptq", "int8-qat", "sparse-qat"));

// --- Learning ----------------------------------------------------------------------------------

double mean_loss(const std::vector<nlohmann::json>& steps, size_t first, size_t count) {
  double sum = 0;
  for (size_t i = first; i < first + count; ++i) sum += steps[i].at("loss").get<double>();
  return sum / static_cast<double>(count);
}

TEST(Trainer, LearnsAndLogs) {
  TrainRequest request = small_run("dense", "cross-encoder", "learns");
  request.max_steps = 240;
  request.overrides["stages.0.epochs"] = "20";
  request.overrides["stages.0.learning_rate.peak"] = "1e-2";
  request.overrides["dropout"] = "0";
  request.overrides["evaluate_every"] = "80";
  const TrainSummary summary = run_afresh(request);
  const auto steps = log_rows(request.out, "step");
  ASSERT_EQ(steps.size(), 240u);
  EXPECT_EQ(steps[7].at("step"), 8);
  EXPECT_LT(mean_loss(steps, 230, 10), 0.8 * mean_loss(steps, 0, 10));
  const auto evaluations = log_rows(request.out, "evaluation");
  ASSERT_EQ(evaluations.size(), 3u);
  EXPECT_GT(summary.dev.at("pnr"), 1.3);
  EXPECT_GT(summary.dev.at("ndcg@10"), 0.7);
}

TEST(Trainer, PatienceEndsAStageAndTheBestStateIsWritten) {
  TrainRequest request = small_run("dense", "cross-encoder", "patience");
  request.max_steps = 100;
  request.overrides["stages.0.epochs"] = "20";
  request.overrides["stages.0.learning_rate"] = "{peak: 1e-12, schedule: constant}";
  request.overrides["evaluate_every"] = "5";
  request.overrides["patience"] = "2";
  EXPECT_EQ(run_afresh(request).steps, 15);
}

TEST(Trainer, SharesRows) {
  TrainRequest request = small_run("sparse-qat", "cross-encoder", "rows");
  request.overrides["stages.*.share_rows"] = "2";
  const ModelDirectory model = ModelDirectory::open(run_afresh(request).model);
  for (const std::string& name : prunable_weights(build_network(model.config()))) {
    EXPECT_GE(sparsity_report(model.tensor(name)).share_rows, 2) << name;
  }
}

TEST(Trainer, AccumulatesMicroBatches) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "accumulate");
  request.overrides["accumulate"] = "3";
  request.max_steps = 4;
  const TrainSummary summary = run_afresh(request);
  EXPECT_EQ(summary.steps, 4);
}

// --- Models of other layouts -------------------------------------------------------------------

class BareEncoder : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(BareEncoder, BecomesASparseInt8CrossEncoder) {
  const auto& [layout, data] = GetParam();
  TrainRequest request = small_run("sparse-qat", layout, std::string("bare-") + layout);
  request.train_data = kSource / "tests/golden/data" / data;
  request.dev_data = request.train_data;
  const ModelDirectory model = ModelDirectory::open(run_afresh(request).model);
  EXPECT_EQ(model.config().head, HeadKind::kClassification);
  EXPECT_EQ(model.config().num_labels, 3);
  EXPECT_TRUE(model.config().int8);
  EXPECT_EQ(log_rows(request.out, "stage")[0].at("stage"), "dense");
}

INSTANTIATE_TEST_SUITE_P(Trainer, BareEncoder,
                         testing::Values(std::pair("bert-uncased", "en.tsv"),
                                         std::pair("bert-cased", "en.tsv"),
                                         std::pair("bert-chinese", "zh.tsv"),
                                         std::pair("minilm", "en.tsv")));

TEST(Trainer, TrainedHeadsSkipTheStageForUntrainedOnes) {
  const TrainRequest request = small_run("sparse-qat", "cross-encoder", "skips");
  run_afresh(request);
  EXPECT_EQ(log_rows(request.out, "stage")[0].at("stage"), "sparse-25");
}

TEST(Trainer, EmbeddingsLearnFromContrast) {
  const fs::path recipe = write_recipe("embedding", R"(
name: embedding
head: embedding
stages:
  - name: contrast
    epochs: 2
    sparsity: 0.5
    learning_rate: {peak: 1e-3}
    losses:
      - {kind: contrastive}
      - {kind: hidden_states, weight: 0.1}
)");
  const TrainRequest request = small_run(recipe.string(), "minilm", "embedding");
  const TrainSummary summary = run_afresh(request);
  EXPECT_EQ(ModelDirectory::open(summary.model).config().head, HeadKind::kEmbedding);
  EXPECT_GT(summary.dev.at("ndcg@10"), 0);
}

TEST(Trainer, RegressionHeadsLearnFromMseAndRankNet) {
  const fs::path recipe = write_recipe("regression", R"(
name: regression
stages:
  - name: regression
    epochs: 2
    learning_rate: {peak: 1e-3}
    losses: [{kind: mse}, {kind: ranknet}]
)");
  const TrainRequest request = small_run(recipe.string(), "cross-encoder-regression", "regression");
  EXPECT_EQ(ModelDirectory::open(run_afresh(request).model).config().num_labels, 1);
}

// --- Calibration -------------------------------------------------------------------------------

CalibrateRequest small_calibration(const fs::path& model, const std::string& name) {
  CalibrateRequest request;
  request.model = model;
  request.data = kSource / "tests/golden/data/en.tsv";
  request.out = fs::path(testing::TempDir()) / ("calibrated." + name);
  request.batches = 4;
  request.threads = 1;
  return request;
}

TEST(Calibrate, MakesASparseModelInt8) {
  const TrainSummary sparse = run_afresh(small_run("one-shot", "cross-encoder", "to-calibrate"));
  const CalibrateRequest request = small_calibration(sparse.model, "sparse");
  run_calibration(request, {});
  const ModelDirectory model = ModelDirectory::open(request.out);
  const std::string layer = "encoder.layer.0.attention.self.";
  EXPECT_TRUE(model.config().int8);
  EXPECT_EQ(sparsity_report(model.tensor(layer + "query.weight")).groups_2_4, 1);
  const auto scale = [&](const std::string& name) {
    return model.tensor(layer + name + ".input_scale").as<float>()[0];
  };
  EXPECT_GT(scale("query"), 0);
  EXPECT_EQ(scale("query"), scale("key"));
  EXPECT_EQ(scale("query"), scale("value"));
  const auto ours = nlohmann::json::parse(model.twofour_json());
  EXPECT_EQ(ours["recipe"]["name"], "one-shot");
  EXPECT_EQ(ours["scheme"]["weights"], "int8 symmetric static per-channel");
  EXPECT_THAT(message_of([&] { run_calibration(small_calibration(request.out, "twice"), {}); }),
              HasSubstr("is int8 already"));
}

TEST(Calibrate, TakesEmbeddingModels) {
  const CalibrateRequest request = small_calibration(golden_model("bge"), "bge");
  run_calibration(request, {});
  EXPECT_TRUE(ModelDirectory::open(request.out).config().int8);
}

// --- Requests that cannot work -----------------------------------------------------------------

std::string refusal(const TrainRequest& request) {
  fs::remove_all(request.out);
  const std::string message = message_of([&] { run_training(request, {}); });
  EXPECT_FALSE(fs::exists(request.out)) << "nothing is written";
  return message;
}

TEST(TrainerRefuses, AHeadOfAnotherWidth) {
  TrainRequest request = small_run("dense", "cross-encoder", "refused");
  request.overrides["num_labels"] = "5";
  EXPECT_THAT(refusal(request), HasSubstr("has a classifier of 3 labels, the recipe asks for 5"));
}

TEST(TrainerRefuses, LabelsThatTheHeadLacks) {
  TrainRequest request = small_run("dense", "bert-uncased", "refused");
  request.overrides["num_labels"] = "2";
  EXPECT_THAT(refusal(request), HasSubstr("en.tsv:"));
}

TEST(TrainerRefuses, CrossEntropyOnARegressionHead) {
  EXPECT_THAT(refusal(small_run("dense", "cross-encoder-regression", "refused")),
              HasSubstr("has one output"));
}

TEST(TrainerRefuses, ATeacherWithoutHead) {
  EXPECT_THAT(refusal(small_run("one-shot-kd", "bert-uncased", "refused")),
              HasSubstr("has no trained classifier"));
}

TEST(TrainerRefuses, ATeacherWithOtherTokens) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = golden_model("bert-chinese");
  EXPECT_THAT(refusal(request), HasSubstr("another vocabulary"));
}

TEST(TrainerRefuses, ATeacherOfAnotherShape) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = golden_model("bert-uncased");
  EXPECT_THAT(refusal(request), HasSubstr("'hidden_states' compares them one by one"));
}

TEST(TrainerRefuses, LayersThatAreNotThere) {
  TrainRequest request = small_run("one-shot", "cross-encoder", "refused");
  request.overrides["keep_dense"] = "[\"encoder.layer.77.*\"]";
  EXPECT_THAT(refusal(request), HasSubstr("encoder.layer.77.*"));
}

TEST(TrainerRefuses, AFolderThatHoldsARun) {
  const TrainRequest request = small_run("int8-ptq", "cross-encoder", "taken");
  run_afresh(request);
  const auto before = contents_of(request.out);
  EXPECT_THAT(message_of([&] { run_training(request, {}); }), HasSubstr("holds a run already"));
  EXPECT_EQ(contents_of(request.out), before);
}

}  // namespace
}  // namespace twofour
