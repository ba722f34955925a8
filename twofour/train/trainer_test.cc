#include "twofour/train/trainer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <span>

#include "twofour/graph/network.h"
#include "twofour/quant/quantize.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/train/calibration.h"
#include "twofour/train/evaluator.h"
#include "twofour/train/recipe.h"
#include "twofour/train/torch_session.h"
#include "twofour/train/trainer_test_support.h"

namespace twofour {
namespace {

using testing::AllOf;
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

// --- Sparse pre-training -----------------------------------------------------------------------

// From texts without labels; what is trained on labels afterwards stays 2:4.
TEST(Trainer, SparsePretrainingComesBeforeAnyTask) {
  const fs::path texts = fs::path(testing::TempDir()) / "pretraining.txt";
  const Dataset data = read_dataset(kSource / "tests/golden/data/en.tsv");
  write_file_atomically(texts, fmt::format("{}\n", fmt::join(data.documents, "\n")));
  TrainRequest pretraining = small_run("sparse-pretraining", "minilm", "pretraining");
  pretraining.train_data = texts;
  pretraining.dev_data.clear();
  const ModelDirectory source = ModelDirectory::open(pretraining.model);
  const ModelDirectory encoder = ModelDirectory::open(run_afresh(pretraining).model);
  EXPECT_EQ(encoder.config().head, HeadKind::kEmbedding);
  EXPECT_EQ(encoder.contains("pooler.dense.weight"), source.contains("pooler.dense.weight"));
  const auto steps = log_rows(pretraining.out, "step");
  EXPECT_EQ(steps.front().at("losses").size(), 2u);

  TrainRequest fine_tuning = small_run("dense", "minilm", "fine_tuning");
  fine_tuning.model = pretraining.out / "model";
  const ModelDirectory model = ModelDirectory::open(run_afresh(fine_tuning).model);
  EXPECT_EQ(model.config().head, HeadKind::kClassification);
  for (const std::string& name : prunable_weights(build_network(model.config()))) {
    EXPECT_EQ(sparsity_report(encoder.tensor(name)).groups_2_4, 1) << name;
    EXPECT_EQ(sparsity_report(model.tensor(name)).groups_2_4, 1) << name;
    EXPECT_FALSE(
        std::ranges::equal(encoder.tensor(name).as<float>(), model.tensor(name).as<float>()))
        << name;
  }
}

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
  // At this rate rounding decides the path: 0.93 on a Xeon with AMX, below 0.8 on a Zen 4.
  EXPECT_LT(mean_loss(steps, 230, 10), 0.95 * mean_loss(steps, 0, 10));
  const auto evaluations = log_rows(request.out, "evaluation");
  ASSERT_EQ(evaluations.size(), 3u);
  EXPECT_GT(summary.dev.at("pnr"), 1.3);
  EXPECT_GT(summary.dev.at("ndcg@10"), 0.7);
}

TEST(Trainer, PatienceEndsAStage) {
  TrainRequest request = small_run("dense", "cross-encoder", "patience");
  request.max_steps = 100;
  request.overrides["stages.0.epochs"] = "20";
  request.overrides["stages.0.learning_rate"] = "{peak: 1e-12, schedule: constant}";
  request.overrides["evaluate_every"] = "5";
  request.overrides["patience"] = "2";
  EXPECT_EQ(run_afresh(request).steps, 15);
}

Metrics evaluate(const fs::path& path, const fs::path& data_path) {
  const TorchSession session(1, /*deterministic=*/true);
  const ModelDirectory model = ModelDirectory::open(path);
  const Network network = build_network(model.config());
  const Dataset data = read_dataset(data_path);
  ThreadPool pool(1);
  const TokenStore tokens = TokenStore::of_pairs(data, *Tokenizer::open(model), 128, pool);
  const RankingEvaluator evaluator(data, tokens, network, model.config());
  return evaluator.evaluate(load_parameters(network, model, 1), nullptr);
}

// A rate that rises until training diverges: it is good for some steps only.
TEST(Trainer, TheBestStateOnDevIsWritten) {
  TrainRequest request = small_run("dense", "cross-encoder", "best");
  request.max_steps = 60;
  request.overrides["stages.0.epochs"] = "20";
  request.overrides["stages.0.learning_rate"] = "{peak: 1, warmup: 0.99}";
  request.overrides["evaluate_every"] = "2";
  request.overrides["patience"] = "0";
  const TrainSummary summary = run_afresh(request);
  const auto evaluations = log_rows(request.out, "evaluation");
  nlohmann::json best;
  for (const auto& row : evaluations) {
    if (row.at("best") == true) best = row;
  }
  const Metrics expected = best.at("metrics").get<Metrics>();
  ASSERT_LT(evaluations.back().at("metrics").at("ndcg@10").get<double>(),
            expected.at("ndcg@10") - 1e-3);
  const Metrics found = evaluate(summary.model, request.dev_data);
  EXPECT_NEAR(found.at("ndcg@10"), expected.at("ndcg@10"), 1e-6);
  EXPECT_NEAR(found.at("accuracy"), expected.at("accuracy"), 1e-6);
  EXPECT_EQ(summary.dev, expected);
  EXPECT_EQ(log_rows(request.out, "result")[0].at("best_step"), best.at("step"));
}

std::string warnings_of(const TrainRequest& request) {
  std::string warnings;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel level, const std::string& message) {
    if (level == LogLevel::kWarning) warnings += message;
  };
  run_afresh(request, callbacks);
  return warnings;
}

TEST(Trainer, SaysWhenDevWasStillImproving) {
  TrainRequest request = small_run("dense", "cross-encoder", "improving");
  request.overrides["stages.0.learning_rate.peak"] = "2e-3";
  request.overrides["evaluate_every"] = "12";
  EXPECT_THAT(warnings_of(request), HasSubstr("dense ended while dev was still improving"));
  request.overrides["stages.0.learning_rate.peak"] = "1e-12";
  EXPECT_THAT(warnings_of(request), Not(HasSubstr("still improving")));
}

TEST(Trainer, WarnsOfQueriesThatTrainingAndEvaluationShare) {
  TrainRequest request = small_run("dense", "cross-encoder", "shared");
  request.max_steps = 1;
  request.train_data = fs::path(testing::TempDir()) / "shared-train.tsv";
  request.dev_data = fs::path(testing::TempDir()) / "shared-dev.tsv";
  const std::string train = "query\tdocument\tlabel\nred cup\ta red cup\t2\nlamp\ta cup\t0\n";
  const std::string dev = "query\tdocument\tlabel\ndesk\ta desk\t2\ndesk\ta cup\t0\n";
  write_file_atomically(request.train_data, train);
  write_file_atomically(request.dev_data, dev);
  EXPECT_EQ(warnings_of(request), "");
  write_file_atomically(request.dev_data, dev + "red cup\ta red lamp\t1\n");
  EXPECT_EQ(
      warnings_of(request),
      fmt::format("1 of 2 queries of {} stand in {} too: dev's metrics will flatter the model",
                  request.dev_data.string(), request.train_data.string()));
}

TEST(Trainer, WarnsOfATeacherThatNobodyNeeds) {
  TrainRequest request = small_run("one-shot", "cross-encoder", "needless-teacher");
  request.max_steps = 1;
  request.teacher = golden_model("cross-encoder");
  EXPECT_THAT(warnings_of(request), HasSubstr("--teacher " + request.teacher.string() +
                                              " is not used: the recipe distils nothing"));
  request.teacher = "/nowhere";
  EXPECT_THAT(message_of([&] { run_afresh(request); }),
              HasSubstr("[/nowhere] no such model directory"));
}

// Every label is 1: no order to get right.
fs::path data_without_order() {
  const auto path = fs::path(testing::TempDir()) / "without-order.tsv";
  write_file_atomically(path, "query\tdocument\tlabel\nred cup\ta red cup\t1\nred cup\tcup\t1\n");
  return path;
}

// The model as it comes has the one pair of labels in the right order: pnr is infinite.
TEST(Trainer, TheLaterOfTwoInfinitelyGoodStatesIsBetter) {
  TrainRequest request = small_run("dense", "cross-encoder", "infinite");
  request.dev_data = fs::path(testing::TempDir()) / "two.tsv";
  write_file_atomically(request.dev_data,
                        "query\tdocument\tlabel\nred coffee cup\tThis red coffee cup is light, "
                        "strong and easy to clean.\t2\nred coffee cup\tA blue desk lamp for "
                        "everyday use, 2 years of guarantee.\t0\n");
  request.overrides["stages.0.learning_rate.peak"] = "1e-12";
  request.overrides["select_metric"] = "pnr";
  request.overrides["evaluate_every"] = "12";
  run_afresh(request);
  const auto evaluations = log_rows(request.out, "evaluation");
  ASSERT_EQ(evaluations.size(), 2u);
  for (const auto& row : evaluations) {
    EXPECT_TRUE(row.at("metrics").at("pnr").is_null()) << "infinite";
    EXPECT_EQ(row.at("best"), true);
  }
}

// What was pruned before stays pruned in a recipe that says nothing of sparsity.
TEST(Trainer, SparseModelsStaySparse) {
  const TrainSummary sparse = run_afresh(small_run("one-shot", "cross-encoder", "pruned-first"));
  TrainRequest request = small_run("int8-qat", "cross-encoder", "quantized-then");
  request.model = sparse.model;
  const TrainSummary summary = run_afresh(request);
  EXPECT_DOUBLE_EQ(summary.sparsity, 0.5);
  const ModelDirectory model = ModelDirectory::open(summary.model);
  EXPECT_TRUE(model.config().int8);
  for (const std::string& name : prunable_weights(build_network(model.config()))) {
    EXPECT_EQ(sparsity_report(model.tensor(name)).groups_2_4, 1) << name;
  }
  const auto ours = nlohmann::json::parse(model.twofour_json());
  EXPECT_EQ(ours["recipe"]["name"], "int8-qat");
  EXPECT_EQ(ours["pruning"]["pattern"], "2:4");
}

TEST(Trainer, SharesRows) {
  TrainRequest request = small_run("sparse-qat", "cross-encoder", "rows");
  request.overrides["stages.*.share_rows"] = "2";
  const ModelDirectory model = ModelDirectory::open(run_afresh(request).model);
  for (const std::string& name : prunable_weights(build_network(model.config()))) {
    EXPECT_GE(sparsity_report(model.tensor(name)).share_rows, 2) << name;
  }
}

int largest_magnitude(const TensorView& weight) {
  int largest = 0;
  for (const int8_t value : weight.as<int8_t>()) largest = std::max(largest, std::abs(value));
  return largest;
}

TEST(Trainer, WritesWeightsOfFourBits) {
  for (const std::string recipe : {"int8-ptq", "int8-qat"}) {
    TrainRequest request = small_run(recipe, "cross-encoder", "four-bits." + recipe);
    request.overrides["weight_bits"] = "4";
    const ModelDirectory model = ModelDirectory::open(run_afresh(request).model);
    ASSERT_TRUE(model.config().int8);
    for (const std::string& name : prunable_weights(build_network(model.config()))) {
      EXPECT_EQ(largest_magnitude(model.tensor(name)), 7) << recipe << " " << name;
    }
    const auto scheme = nlohmann::json::parse(model.twofour_json())["scheme"];
    EXPECT_EQ(scheme["weights"], "int4 symmetric static per-channel");
    EXPECT_EQ(scheme["activations"], "int8 symmetric static per-tensor");
  }
}

TEST(Trainer, PtqQuantizesToTheBitsOfTheRecipe) {
  TrainRequest request = small_run("int8-ptq", "cross-encoder", "three-bits");
  request.overrides["weight_bits"] = "3";
  const ModelDirectory source = ModelDirectory::open(request.model);
  const ModelDirectory model = ModelDirectory::open(run_afresh(request).model);
  for (const std::string& name : prunable_weights(build_network(model.config()))) {
    const QuantizedWeight expected = quantize_weight(source.tensor(name), 3);
    EXPECT_TRUE(std::ranges::equal(model.tensor(name).as<int8_t>(), expected.values.as<int8_t>()))
        << name;
  }
}

// Runs that differ in nothing before the stage that simulates int8.
TEST(Trainer, QatSimulatesTheBitsOfTheRecipe) {
  const auto losses = [](const std::string& bits) {
    TrainRequest request = small_run("int8-qat", "cross-encoder", "bits" + bits);
    request.max_steps = 3;
    request.overrides["weight_bits"] = bits;
    run_afresh(request);
    std::map<std::string, double> last_of_stage;
    for (const auto& row : log_rows(request.out, "step")) {
      last_of_stage[row.at("stage").get<std::string>()] = row.at("loss").get<double>();
    }
    return last_of_stage;
  };
  const auto four = losses("4"), eight = losses("8");
  EXPECT_EQ(four.at("dense"), eight.at("dense"));
  EXPECT_NE(four.at("int8"), eight.at("int8"));
}

// 40 pairs as one batch, or as 16, 16 and 8.
TEST(Trainer, AccumulatesMicroBatches) {
  const auto first_step = [&](const std::string& batch_pairs, const std::string& accumulate) {
    TrainRequest request = small_run("dense", "cross-encoder", "accumulate" + accumulate);
    request.train_data = first_pairs(40);
    request.overrides["batch_pairs"] = batch_pairs;
    request.overrides["accumulate"] = accumulate;
    request.overrides["dropout"] = "0";
    request.max_steps = 2;
    EXPECT_EQ(run_afresh(request).steps, 2);
    return log_rows(request.out, "step")[0];
  };
  const auto whole = first_step("40", "1"), parts = first_step("16", "3");
  EXPECT_NEAR(parts["loss"].get<double>(), whole["loss"].get<double>(), 1e-6);
  EXPECT_NEAR(parts["grad_norm"].get<double>() / whole["grad_norm"].get<double>(), 1, 1e-5);
}

TEST(Trainer, WritesToFoldersWhoseNamesAreNoUtf8) {
  const TrainRequest request = small_run("int8-ptq", "cross-encoder", "caf\xE9");
  EXPECT_TRUE(run_afresh(request).finished);
  EXPECT_THAT(log_rows(request.out, "result")[0].at("model").get<std::string>(),
              testing::EndsWith("run.caf\xEF\xBF\xBD/model"));
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

// Long enough to learn the pairs by heart. A random order, like that of an untrained model, has a
// pnr of 1; these runs reach 8 and more.
constexpr double kLearnedPnr = 4;

TrainRequest long_run(const fs::path& recipe, const std::string& layout, const std::string& name) {
  TrainRequest request = small_run(recipe.string(), layout, name);
  request.max_steps = 0;
  request.overrides["dropout"] = "0";
  return request;
}

TEST(Trainer, EmbeddingsLearnFromContrast) {
  const fs::path recipe = write_recipe("embedding", R"(
name: embedding
head: embedding
stages:
  - name: contrast
    epochs: 20
    sparsity: 0.5
    learning_rate: {peak: 3e-3}
    losses:
      - {kind: contrastive}
      - {kind: hidden_states, weight: 0.1}
)");
  const TrainRequest request = long_run(recipe, "minilm", "embedding");
  const TrainSummary summary = run_afresh(request);
  EXPECT_EQ(ModelDirectory::open(summary.model).config().head, HeadKind::kEmbedding);
  const auto steps = log_rows(request.out, "step");
  EXPECT_LT(mean_loss(steps, steps.size() - 10, 10), 0.6 * mean_loss(steps, 0, 10));
  EXPECT_GT(summary.dev.at("pnr"), kLearnedPnr);
}

// What a model loses that gives every pair the same output.
double loss_of_a_constant(const std::string& loss, const Dataset& data) {
  if (loss == "ranknet") return std::log(2);
  double sum = 0, squares = 0;
  for (const Pair& pair : data.pairs) {
    sum += pair.label;
    squares += pair.label * pair.label;
  }
  const auto count = static_cast<double>(data.pairs.size());
  return squares / count - sum / count * (sum / count);
}

class RegressionHead : public testing::TestWithParam<const char*> {};

TEST_P(RegressionHead, Learns) {
  const std::string loss = GetParam();
  const fs::path recipe = write_recipe("regression-" + loss, "name: regression-" + loss + R"(
stages:
  - name: regression
    epochs: 20
    learning_rate: {peak: 3e-3}
    losses: [{kind: )" + loss + "}]\n");
  const TrainRequest request = long_run(recipe, "cross-encoder-regression", "regression-" + loss);
  const TrainSummary summary = run_afresh(request);
  EXPECT_EQ(ModelDirectory::open(summary.model).config().num_labels, 1);
  const auto steps = log_rows(request.out, "step");
  EXPECT_LT(mean_loss(steps, steps.size() - 10, 10),
            0.5 * loss_of_a_constant(loss, read_dataset(request.train_data)));
  EXPECT_GT(summary.dev.at("pnr"), kLearnedPnr);
}

INSTANTIATE_TEST_SUITE_P(Trainer, RegressionHead, testing::Values("mse", "ranknet"));

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

TEST(Trainer, WarnsThatInt8IsLost) {
  const CalibrateRequest quantized = small_calibration(golden_model("cross-encoder"), "to-train");
  run_calibration(quantized, {});
  TrainRequest request = small_run("dense", "cross-encoder", "from-int8");
  request.max_steps = 1;
  request.model = quantized.out;
  EXPECT_THAT(warnings_of(request),
              HasSubstr(quantized.out.string() + " is int8: its weights are trained as floats, and "
                                                 "the result is a float model"));
  EXPECT_FALSE(ModelDirectory::open(request.out / "model").config().int8);
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

TEST(TrainerRefuses, ToSelectByWhatDevDoesNotDefine) {
  TrainRequest request = small_run("dense", "cross-encoder", "refused");
  request.dev_data = data_without_order();
  request.overrides["select_metric"] = "pnr";
  const std::string message = refusal(request);
  EXPECT_THAT(message, HasSubstr("without-order.tsv] leaves pnr undefined for this model"));
  EXPECT_THAT(message, HasSubstr("Set select_metric to one of these: accuracy, f1@345, ndcg@10"));
}

TEST(TrainerRefuses, ToSelectARegressionHeadByAccuracy) {
  TrainRequest request = small_run("dense", "cross-encoder-regression", "refused");
  request.overrides["stages.*.losses"] = "[{kind: mse}]";
  request.overrides["select_metric"] = "accuracy";
  const std::string message = refusal(request);
  EXPECT_THAT(message, HasSubstr("leaves accuracy undefined for this model"));
  EXPECT_THAT(message, HasSubstr("Set select_metric to one of these: f1@345, ndcg@10, pnr"));
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

// The model of golden/cross-encoder with another text in one of its files.
fs::path changed_model(const std::string& file, const std::string& from, const std::string& to) {
  const fs::path path = fs::path(testing::TempDir()) / "changed-model";
  fs::remove_all(path);
  fs::copy(golden_model("cross-encoder"), path, fs::copy_options::recursive);
  std::string content = read_file(path / file);
  const size_t place = content.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  write_file_atomically(path / file, content.replace(place, from.size(), to));
  return path;
}

TEST(TrainerRefuses, ATeacherWithoutRowsForWhatItReads) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = changed_model("config.json", "\"max_position_embeddings\": 64",
                                  "\"max_position_embeddings\": 48");
  EXPECT_THAT(refusal(request), HasSubstr("changed-model] reads 48 tokens at most, but sequences "
                                          "may have 64. Set max_length to 48 or less."));
  request.teacher =
      changed_model("config.json", "\"type_vocab_size\": 2", "\"type_vocab_size\": 1");
  EXPECT_THAT(refusal(request), HasSubstr("knows 1 token types, but pairs of texts have 2"));
  request.model = request.teacher;
  request.teacher.clear();
  EXPECT_THAT(refusal(request), HasSubstr("knows 1 token types, but pairs of texts have 2"));
}

TEST(TrainerRefuses, ATeacherWithTheSameNumberOfOtherTokens) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = changed_model("vocab.txt", "!\n\"\n", "\"\n!\n");
  EXPECT_THAT(refusal(request), HasSubstr("another vocabulary than the model that it teaches: "
                                          "token 5 is '\"', expected '!'"));
}

TEST(TrainerRefuses, RelationHeadsThatDivideNoHiddenSize) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.overrides["stages.*.losses"] = "[{kind: minilm_v2, relation_heads: 3}]";
  EXPECT_THAT(refusal(request), HasSubstr("has a hidden size of 32, which the 3 relation heads of "
                                          "stage 'sparse' do not divide"));
  request.teacher = golden_model("bert-uncased");
  request.overrides["stages.*.losses"] = "[{kind: minilm_v2, relation_heads: 32}]";
  EXPECT_THAT(refusal(request), HasSubstr("bert-uncased/model] has a hidden size of 16, which the "
                                          "32 relation heads"));
}

TEST(TrainerRefuses, ATeacherOfAnotherShape) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = golden_model("bert-uncased");
  EXPECT_THAT(refusal(request), HasSubstr("'hidden_states' compares them one by one"));
}

TEST(TrainerRefuses, ScalesThatOnlyASkippedStageWouldFind) {
  const fs::path recipe = write_recipe("skipped-calibration", R"(
name: skipped-calibration
stages:
  - {name: first, only_untrained_head: true, calibrate: max}
  - {name: int8, steps: 4, fake_quantize: true, losses: [{kind: cross_entropy}]}
)");
  EXPECT_THAT(refusal(small_run(recipe.string(), "cross-encoder", "refused")),
              HasSubstr("stage 'int8' needs scales, but only a stage for untrained heads"));
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

TEST(TrainerRefuses, AFolderOfOtherThings) {
  TrainRequest request = small_run("dense", "cross-encoder", "foreign");
  const auto refused = [&] {
    const auto before = contents_of(request.out);
    const std::string message = message_of([&] { run_training(request, {}); });
    EXPECT_EQ(contents_of(request.out), before);
    return message;
  };
  fs::remove_all(request.out);
  write_file_atomically(request.out / "notes.txt", "precious");
  EXPECT_THAT(refused(), HasSubstr("holds something other than a run: notes.txt. Choose another"));
  fs::remove_all(request.out);
  fs::copy(request.model, request.out, fs::copy_options::recursive);
  EXPECT_THAT(refused(), HasSubstr("holds something other than a run: config.json"));
}

TEST(TrainerRefuses, PlacesThatCannotBeWritten) {
  TrainRequest request = small_run("dense", "cross-encoder", "unwritable");
  fs::remove_all(request.out);
  write_file_atomically(request.out, "a file");
  const fs::path file = request.out;
  for (const fs::path& out : {file, file / "run"}) {
    request.out = out;
    EXPECT_THAT(message_of([&] { run_training(request, {}); }),
                HasSubstr("[" + file.string() + "] is not a folder"));
  }
  EXPECT_EQ(read_file(file), "a file");
  // Nobody makes folders there; what the system says differs between root and others.
  request.out = "/proc/twofour-run";
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              testing::ContainsRegex("^\\[/proc[^]]*] cannot be (made|written): [A-Z].*folder"));
}

TEST(TrainerRefuses, ToResumeWhatIsNotThere) {
  TrainRequest request = small_run("dense", "cross-encoder", "nothing-to-resume");
  request.resume = true;
  EXPECT_THAT(refusal(request), HasSubstr("holds no run to resume. Start it without --resume"));
}

TEST(TrainerRefuses, ARunWithoutCheckpointUntilItsLogIsRemoved) {
  TrainRequest request = small_run("dense", "cross-encoder", "diverged");
  request.overrides["stages.0.learning_rate.peak"] = "1e30";
  EXPECT_THAT(message_of([&] { run_afresh(request); }), HasSubstr("training has diverged"));
  request.overrides.erase("stages.0.learning_rate.peak");
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              AllOf(HasSubstr("log.jsonl] is of a run that has left no checkpoint"),
                    HasSubstr("Remove it to start again")));
  fs::remove(request.out / "log.jsonl");
  EXPECT_TRUE(run_training(request, {}).finished);
}

// --- Bad input ---------------------------------------------------------------------------------

using Content = std::function<std::string(const std::string& good)>;

Content text(const std::string& content) {
  return [content](const std::string&) { return content; };
}

Content half() {
  return [](const std::string& good) { return good.substr(0, good.size() / 2); };
}

// A safetensors file whose header is said to have another length.
Content claiming(uint64_t (*length)(uint64_t actual)) {
  return [length](std::string bytes) {
    uint64_t claimed = 0;
    std::memcpy(&claimed, bytes.data(), sizeof claimed);
    claimed = length(claimed);
    std::memcpy(bytes.data(), &claimed, sizeof claimed);
    return bytes;
  };
}

using Tensors = std::map<std::string, Tensor>;
const std::string kQuery = "bert.encoder.layer.0.attention.self.query.weight";

Content with_tensors(void (*change)(Tensors&)) {
  return [change](const std::string& good) {
    const Safetensors file = Safetensors::from_memory(std::as_bytes(std::span(good)), "good");
    Tensors tensors;
    for (const std::string& name : file.names()) tensors[name] = Tensor(file.get(name));
    change(tensors);
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors) named.push_back({name, tensor.view()});
    const auto path =
        fs::path(testing::TempDir()) / fmt::format("spoiled.{}.safetensors", getpid());
    write_safetensors(path, named);
    std::string bytes = read_file(path);
    fs::remove(path);
    return bytes;
  };
}

// One file of a request that is good but for it.
struct BadInput {
  std::string name;
  std::string file;
  Content content;
  std::string where;   // end of the place that the message begins with
  std::string remedy;  // end of the message
};

class BadInputIsRefused : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputIsRefused, WithFileAndRemedy) {
  const BadInput& bad = GetParam();
  TrainRequest request = small_run("dense", "cross-encoder", "bad-" + bad.name);
  const fs::path folder = fs::path(testing::TempDir()) / ("bad-input-" + bad.name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy(request.model, folder / "model", fs::copy_options::recursive);
  fs::copy(request.train_data, folder / "data.tsv");
  fs::copy(request.recipe, folder / "recipe.yaml");
  write_file_atomically(folder / bad.file, bad.content(read_file(folder / bad.file)));
  request.model = folder / "model";
  request.train_data = folder / "data.tsv";
  request.recipe = folder / "recipe.yaml";
  const std::string message = refusal(request);
  EXPECT_THAT(message, testing::StartsWith("[" + (folder / bad.file).string()));
  EXPECT_THAT(message, HasSubstr(bad.where + "] "));
  EXPECT_THAT(message, testing::EndsWith(". " + bad.remedy));
}

const std::string kHeader = "query\tdocument\tlabel\n";
const std::string kWeights = "model/model.safetensors";
const std::string kDamaged = "The file is damaged or incomplete: fetch it again";
const std::string kOther =
    "The file is incomplete, or config.json is of another model: take both from one";

std::string recipe_of_stages(const std::string& first, const std::string& second) {
  return fmt::format("name: bad\nstages:\n  - {{name: a, {}}}\n  - {{name: b, {}}}\n", first,
                     second);
}

INSTANTIATE_TEST_SUITE_P(
    Trainer, BadInputIsRefused,
    testing::Values(
        BadInput{"Truncated", kWeights, half(), "", kDamaged},
        BadInput{"TruncatedInTheLength", kWeights, text("1234"), kWeights, kDamaged},
        BadInput{"OversizedHeader", kWeights, claiming([](uint64_t) { return uint64_t{1} << 40; }),
                 kWeights, "It is no safetensors file, or it is damaged"},
        BadInput{"HeaderBeyondTheFile", kWeights,
                 claiming([](uint64_t) { return uint64_t{99'999'999}; }), kWeights, kDamaged},
        BadInput{"HeaderThatLies", kWeights, claiming([](uint64_t actual) { return actual / 2; }),
                 kWeights, kDamaged},
        BadInput{"HeaderThatLiesOfData", kWeights,
                 claiming([](uint64_t actual) { return actual + 8; }), kWeights, kDamaged},
        BadInput{"MissingTensor", kWeights, with_tensors([](Tensors& all) { all.erase(kQuery); }),
                 kWeights + ": encoder.layer.0.attention.self.query.weight", kOther},
        BadInput{"WrongShape", kWeights, with_tensors([](Tensors& all) {
                   all[kQuery] = Tensor(all["classifier.bias"].view());
                 }),
                 kWeights + ": " + kQuery, kOther},
        BadInput{"NotANumber", kWeights, with_tensors([](Tensors& all) {
                   all[kQuery].as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
                 }),
                 kWeights + ": " + kQuery,
                 "The training that wrote it has diverged, or the file is damaged: take another "
                 "model"},
        BadInput{"OtherNetwork", "model/config.json", text(R"({"model_type": "gpt2"})"),
                 "model/config.json", "Supported: bert"},
        BadInput{"ConfigurationThatIsNoJson", "model/config.json", half(), "model/config.json",
                 "Correct it there, or fetch the file again"},
        BadInput{"WrongColumns", "data.tsv", text("query\ttext\tlabel\nq\td\t1\n"), "data.tsv:1",
                 "The first line names the columns query, document and label, separated by tabs"},
        BadInput{"WrongFields", "data.tsv", text(kHeader + "q\td\n"), "data.tsv:2",
                 "Fields are separated by single tabs and hold none"},
        BadInput{"BadLabel", "data.tsv", text(kHeader + "q\td\tgood\n"), "data.tsv:2",
                 "A label is a number, such as 0, 1 or 0.5: the larger, the more relevant"},
        BadInput{"LabelThatTheHeadLacks", "data.tsv", text(kHeader + "q\td\t7\n"), "data.tsv:2",
                 "Correct the label, or take a model with as many labels as the data"},
        BadInput{"BadEncoding", "data.tsv", text(kHeader + "q\tcaf\xE9\t1\n"), "data.tsv:2",
                 "Convert the file to UTF-8, for example with iconv"},
        BadInput{"EmptyText", "data.tsv", text(kHeader + "q\t \t1\n"), "data.tsv:2",
                 "Give it a text, or remove the line"},
        BadInput{"EmptyFile", "data.tsv", text(""), "data.tsv",
                 "Name a file that holds pairs or texts"},
        BadInput{"NoPairs", "data.tsv", text(kHeader), "data.tsv",
                 "A line for each pair follows the header"},
        BadInput{"UnknownKey", "recipe.yaml", text(recipe_of_stages("sparsty: 0.5", "steps: 1")),
                 "recipe.yaml:3", "Did you mean 'sparsity'?"},
        BadInput{"SparsityThatFalls", "recipe.yaml",
                 text(recipe_of_stages("sparsity: 0.5", "sparsity: 0.25")), "recipe.yaml:4",
                 "Let it rise from stage to stage, or set 'regrowth: true'."},
        BadInput{"SparsityBeyond2To4", "recipe.yaml",
                 text(recipe_of_stages("sparsity: 0.75", "sparsity: 0.75")), "recipe.yaml:3",
                 "Set it to 0.5, two of four weights, or less."},
        BadInput{"QuantizationWithoutScales", "recipe.yaml",
                 text(recipe_of_stages("sparsity: 0.5", "write_int8: true")), "recipe.yaml:4",
                 "Set 'calibrate' here or in an earlier stage."},
        BadInput{"LossesWithoutSteps", "recipe.yaml",
                 text(recipe_of_stages("epochs: 0, losses: [{kind: cross_entropy}]", "steps: 1")),
                 "recipe.yaml:3",
                 "A stage trains with 'steps' or 'epochs' above 0 and losses, or has neither."}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace twofour
