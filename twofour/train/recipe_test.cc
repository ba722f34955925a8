#include "twofour/train/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"

namespace twofour {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

constexpr const char* kSource = TWOFOUR_SOURCE_DIR;

constexpr const char* kApplications[] = {"apps/performance", "apps/pictures", "apps/recall"};

// Appends those of a folder below the source's.
void add_recipes(const std::string& folder, std::vector<std::filesystem::path>& paths) {
  const auto recipes = std::filesystem::path(kSource) / folder / "recipes";
  for (const auto& entry : std::filesystem::directory_iterator(recipes)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
}

std::vector<std::filesystem::path> shipped_recipes() {
  std::vector<std::filesystem::path> paths;
  for (const char* folder : kApplications) add_recipes(folder, paths);
  add_recipes(".", paths);
  std::ranges::sort(paths);
  return paths;
}

Recipe shipped(const std::string& name) {
  return read_recipe(std::filesystem::path(kSource) / "recipes" / (name + ".yaml"));
}

// A recipe of one stage; `stage` holds more keys of that stage.
std::string one_stage(const std::string& stage) {
  return "name: test\nstages:\n  - name: only\n    " + stage + "\n";
}

const std::string kTrained = "steps: 10, losses: [{kind: cross_entropy}]";

std::string stages(const std::vector<std::string>& flows) {
  std::string yaml = "name: test\nstages:\n";
  for (const std::string& flow : flows) yaml += "  - {" + flow + "}\n";
  return yaml;
}

std::string message_of(const std::string& yaml, const RecipeOverrides& overrides = {}) {
  try {
    parse_recipe(yaml, "r.yaml", overrides);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

const std::string kMasked = "name: t\nhead: token_classification\n";
const std::string kMaskedStage = "stages: [{name: a, steps: 1, losses: [{kind: masked_tokens}]}]\n";

TEST(Recipe, MaskedTokensAreReadAndWritten) {
  const Recipe recipe = parse_recipe(
      kMasked + "masking: {segment: first, share: cosine, first_token: 7}\n" + kMaskedStage, "r");
  EXPECT_EQ(recipe.select_metric, "masked_accuracy");
  EXPECT_EQ(recipe.masking.segment, MaskedSegment::kFirst);
  const Recipe again = parse_recipe(to_yaml(recipe), "again");
  EXPECT_EQ(to_yaml(again), to_yaml(recipe));
  EXPECT_EQ(again.masking.share, MaskedShare::kCosine);
  EXPECT_EQ(again.masking.first_token, 7);
}

TEST(Recipe, MaskedTokensAndHeadsMustFit) {
  EXPECT_THAT(message_of(one_stage("steps: 1\n    losses: [{kind: masked_tokens}]")),
              HasSubstr("use 'masked_tokens', which wants 'head: token_classification'"));
  EXPECT_THAT(
      message_of(kMasked + "stages: [{name: a, steps: 1, losses: [{kind: cross_entropy}]}]\n"),
      HasSubstr("use 'cross_entropy', which wants 'head: classification'"));
  EXPECT_THAT(message_of("name: t\nmasking: {constant: 0.2}\n" +
                         stages({"name: a, " + kTrained}).substr(sizeof "name: test")),
              HasSubstr("masking wants 'head: token_classification'"));
  EXPECT_THAT(message_of(kMasked + "masking: {constant: 1.5}\n" + kMaskedStage),
              HasSubstr("masking.constant must lie in (0, 1]"));
  EXPECT_THAT(message_of(kMasked + "masking: {share: cosine, constant: 0.5}\n" + kMaskedStage),
              HasSubstr("masking.constant wants 'share: constant'"));
  EXPECT_THAT(message_of(kMasked + "masking: {segment: third}\n" + kMaskedStage),
              HasSubstr("Use one of: first, second, both."));
  EXPECT_THAT(message_of(kMasked + "select_metric: pnr\n" + kMaskedStage),
              HasSubstr("select_metric is 'pnr', which a head of this kind"));
}

TEST(Recipe, TheOptimizerIsReadAndWritten) {
  const std::string yaml = stages({"name: a, " + kTrained});
  EXPECT_EQ(parse_recipe(yaml, "r").optimizer, OptimizerKind::kAdamW);
  const Recipe sgd = parse_recipe(yaml + "optimizer: sgd\nmomentum: 0.5\n", "r");
  EXPECT_EQ(sgd.optimizer, OptimizerKind::kSgd);
  EXPECT_EQ(sgd.momentum, 0.5);
  EXPECT_EQ(to_yaml(parse_recipe(to_yaml(sgd), "again")), to_yaml(sgd));
  EXPECT_THAT(message_of(yaml + "optimizer: sgd\nepsilon: 1e-6\n"),
              HasSubstr("epsilon wants 'optimizer: adamw'"));
  EXPECT_THAT(message_of(yaml + "momentum: 0.5\n"), HasSubstr("momentum wants 'optimizer: sgd'"));
}

TEST(Recipe, WeightBitsAreReadAndWritten) {
  const std::string yaml = stages({"name: a, calibrate: max, fake_quantize: true, " + kTrained});
  EXPECT_EQ(parse_recipe(yaml, "r").weight_bits, 8);
  EXPECT_THAT(message_of(stages({"name: a, " + kTrained}) + "weight_bits: 4\n"),
              HasSubstr("weight_bits wants a stage that is written as int8"));
  const Recipe recipe = parse_recipe(yaml + "weight_bits: 4\n", "r");
  EXPECT_EQ(recipe.weight_bits, 4);
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again").weight_bits, 4);
  EXPECT_THAT(message_of(yaml, {{"weight_bits", "0"}}),
              HasSubstr("[--set weight_bits] weight_bits is 0: 2 to 8 is expected"));
}

TEST(Recipe, EveryShippedFileParsesAndIsNamedAfterItself) {
  ASSERT_GE(shipped_recipes().size(), 24u);
  for (const auto& path : shipped_recipes()) {
    const Recipe recipe = read_recipe(path);
    const bool is_ours = path.string().find("/apps/") == std::string::npos;
    EXPECT_EQ(is_ours ? recipe.name : path.stem().string(), path.stem().string());
    EXPECT_THAT(recipe.name, EndsWith(path.stem().string()));  // of applications with a prefix
    EXPECT_FALSE(recipe.description.empty()) << path;
  }
}

TEST(Recipe, AnAbsentFileIsRefusedWithTheOneThatMayBeMeant) {
  const std::filesystem::path source(kSource);
  const std::string dense = (source / "recipes/dense.yaml").string();
  for (const char* name : {"dense", "dense.yaml", "recipes/dense"})
    EXPECT_THAT(error_of([&] { read_recipe(source / name); }),
                EndsWith("] no such recipe. Did you mean " + dense + "?"))
        << name;
  const std::string long_name(252, 'x');  // which ".yaml" makes too long for a file
  for (const std::string& name : {std::string("no-such"), long_name})
    EXPECT_THAT(error_of([&] { read_recipe(source / name); }),
                HasSubstr("A recipe is a file, such as recipes/dense.yaml"));
}

TEST(Recipe, WrittenTextReadsBackAsTheSameRecipe) {
  for (const auto& path : shipped_recipes()) {
    const std::string yaml = to_yaml(read_recipe(path));
    EXPECT_EQ(to_yaml(parse_recipe(yaml, "again")), yaml) << path;
  }
}

TEST(Recipe, ComparedOnesAreAsLongAsSparseQat) {
  Recipe sparse = shipped("sparse-qat");
  std::erase_if(sparse.stages, [](const Stage& stage) { return stage.only_untrained_head; });
  limit_steps(sparse, 0, 1000);
  for (const char* name : {"control", "int8-qat"}) {
    Recipe other = shipped(name);
    limit_steps(other, 0, 1000);
    EXPECT_EQ(total_steps(other), total_steps(sparse)) << name;
    for (const Stage& stage : other.stages) EXPECT_GE(stage.losses.size(), 3u) << name;
  }
}

TEST(Recipe, ApplicationsTrainWhatTheyCompareForEqualSteps) {
  const auto steps_of = [](const std::filesystem::path& path) {
    Recipe recipe = read_recipe(path);
    limit_steps(recipe, 0, 1000);
    return total_steps(recipe);
  };
  for (const char* folder : kApplications) {
    std::vector<std::filesystem::path> paths;
    add_recipes(folder, paths);
    std::erase_if(paths, [](const auto& path) {
      return path.stem() == "dense" || path.stem() == "int8-ptq";  // which trains no step
    });
    for (const auto& path : paths)
      EXPECT_EQ(steps_of(path), steps_of(path.parent_path() / "sparse-qat.yaml")) << path;
  }
}

TEST(Recipe, SparseQatEndsSparseAndInt8) {
  const Recipe recipe = shipped("sparse-qat");
  EXPECT_EQ(recipe.stages.back().sparsity, 0.5);
  EXPECT_TRUE(recipe.stages.back().fake_quantize);
  EXPECT_TRUE(recipe.stages.back().write_int8);
  EXPECT_EQ(recipe.stages.back().losses.size(), 4u);
  EXPECT_TRUE(needs_teacher(recipe));
  EXPECT_FALSE(needs_teacher(shipped("dense")));
}

TEST(Recipe, StagesInheritSparsity) {
  const Recipe recipe = parse_recipe(
      stages({"name: a, sparsity: 0.25, share_rows: 2, " + kTrained, "name: b, " + kTrained}), "r");
  EXPECT_EQ(recipe.stages[1].sparsity, 0.25);
  EXPECT_EQ(recipe.stages[1].share_rows, 2);
  EXPECT_EQ(recipe.stages[1].pairing, RowPairing::kLeastEnergy);
}

TEST(Recipe, MaskStepsBecomeStages) {
  const Recipe recipe =
      parse_recipe(stages({"name: sparse, sparsity: 0.5, mask_steps: 4, " + kTrained}), "r");
  ASSERT_EQ(recipe.stages.size(), 4u);
  EXPECT_EQ(recipe.stages[0].name, "sparse-1of4");
  EXPECT_DOUBLE_EQ(recipe.stages[0].sparsity, 0.125);
  EXPECT_DOUBLE_EQ(recipe.stages[2].sparsity, 0.375);
  EXPECT_EQ(recipe.stages[3].sparsity, 0.5);
  EXPECT_EQ(total_steps(recipe), 10);
}

TEST(Recipe, OverridesReplaceValues) {
  const std::string yaml = stages({"name: a, sparsity: 0.5, " + kTrained, "name: b, " + kTrained});
  const Recipe recipe = parse_recipe(yaml, "r",
                                     {{"seed", "3"},
                                      {"stages.0.steps", "100"},
                                      {"stages.*.share_rows", "2"},
                                      {"stages.*.pairing", "nearby"},
                                      {"stages.1.losses", "[{kind: ranknet, weight: 2}]"},
                                      {"stages.1.learning_rate.peak", "5e-4"}});
  EXPECT_EQ(recipe.seed, 3u);
  EXPECT_EQ(recipe.stages[0].steps, 100);
  EXPECT_EQ(recipe.stages[1].steps, 10);
  EXPECT_EQ(recipe.stages[0].share_rows, 2);
  EXPECT_EQ(recipe.stages[1].share_rows, 2);
  EXPECT_EQ(recipe.stages[1].pairing, RowPairing::kNearby);
  EXPECT_EQ(recipe.stages[1].losses[0].kind, LossKind::kRankNet);
  EXPECT_EQ(recipe.stages[1].learning_rate.peak, 5e-4);
}

TEST(Recipe, UnknownKeysNameLineAndNearestKey) {
  const std::string message = message_of(one_stage("sparsty: 0.5"));
  EXPECT_THAT(message, HasSubstr("r.yaml:4"));
  EXPECT_THAT(message, HasSubstr("unknown key 'stages.0.sparsty'"));
  EXPECT_THAT(message, HasSubstr("Did you mean 'sparsity'?"));
  EXPECT_THAT(message_of("name: a\nbatchpairs: 3\nstages: [{name: s}]"),
              HasSubstr("[r.yaml:2] unknown key 'batchpairs'. Did you mean 'batch_pairs'?"));
}

TEST(Recipe, BadOverridesNameThemselves) {
  const std::string yaml = stages({"name: a, " + kTrained});
  EXPECT_THAT(message_of(yaml, {{"stages.0.stepz", "1"}}),
              HasSubstr("[--set stages.0.stepz] unknown key"));
  EXPECT_THAT(message_of(yaml, {{"stages.7.steps", "1"}}),
              HasSubstr("[--set stages.7.steps] '7' is no index of stages, whose length is 1"));
  EXPECT_THAT(message_of(yaml, {{"name.x", "1"}}),
              HasSubstr("[--set name.x] name is a single value"));
  EXPECT_THAT(message_of(yaml, {{"seed", "many"}}),
              HasSubstr("[--set seed] seed is 'many': a whole number is expected"));
  EXPECT_THAT(message_of(yaml, {{"batch_pairs", ""}}),
              HasSubstr("[--set batch_pairs] batch_pairs is empty: a whole number is expected"));
  EXPECT_THAT(message_of(yaml, {{"stages.*.steps", "few"}}),
              HasSubstr("[--set stages.*.steps] stages.0.steps is 'few'"));
  EXPECT_THAT(message_of(yaml, {{"stages.0.steps", "0"}}),
              HasSubstr("[--set stages.0.steps] stages.0.steps is 0, but the stage has losses"));
  EXPECT_THAT(message_of(yaml, {{"seed", "[1"}}), HasSubstr("[--set seed] no YAML"));
  EXPECT_THAT(message_of(yaml, {{"name", "caf\xE9"}}), HasSubstr("[--set name] is not UTF-8"));
}

TEST(Recipe, OverriddenStepsAndEpochsReplaceEachOther) {
  for (const auto& path : shipped_recipes()) {
    if (read_recipe(path).stages[0].epochs == 0) continue;
    const Recipe recipe = read_recipe(path, {{"stages.0.steps", "100"}});
    EXPECT_EQ(recipe.stages[0].steps, 100) << path;
    EXPECT_EQ(recipe.stages[0].epochs, 0) << path;
  }
  const std::string yaml = stages({"name: a, " + kTrained});
  const Recipe recipe = parse_recipe(yaml, "r", {{"stages.0.epochs", "0.5"}});
  EXPECT_EQ(recipe.stages[0].steps, 0);
  EXPECT_EQ(recipe.stages[0].epochs, 0.5);
  EXPECT_THAT(message_of(yaml, {{"stages.0.epochs", "1"}, {"stages.0.steps", "5"}}),
              HasSubstr("[--set stages.0.epochs] stages.0.epochs and 'steps' exclude each other"));
}

TEST(Recipe, OverridesThatSpoilAnotherKeyAreNamed) {
  const std::string yaml = stages({"name: a, sparsity: 0.25", "name: b, sparsity: 0.25"});
  EXPECT_THAT(message_of(yaml, {{"seed", "3"}, {"stages.0.sparsity", "0.5"}}),
              HasSubstr("[--set stages.0.sparsity] does not fit the recipe: [r.yaml:4] "
                        "stages.1.sparsity falls from 0.5 to 0.25"));
  EXPECT_THAT(message_of(stages({"name: a, sparsity: 0.75"}), {{"seed", "3"}}),
              HasSubstr("[r.yaml:3] stages.0.sparsity is 0.75"));
}

struct Refusal {
  std::string yaml, message;
};

class RecipeRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(RecipeRefuses, WithMessage) {
  EXPECT_THAT(message_of(GetParam().yaml), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Recipe, RecipeRefuses,
    testing::Values(
        Refusal{"name: [", "[r.yaml:1] no YAML"}, Refusal{"just text", "must be a map"},
        Refusal{"", "must be a map"}, Refusal{"stages: []", "name is missing"},
        Refusal{"name: a", "stages are missing"},
        Refusal{"name: a\nstage: [{name: s}]",
                "[r.yaml:2] unknown key 'stage'. Did you mean 'stages'?"},
        Refusal{"nam: a", "unknown key 'nam'. Did you mean 'name'?"},
        Refusal{"name: a\nquality: high", "unknown key 'quality'. Known are: name, description,"},
        Refusal{"name: a\nstages: [{nmae: s}]", "unknown key 'stages.0.nmae'"},
        Refusal{"name: a\nstages: [{steps: 1}]", "stages.0 has no 'name'"},
        Refusal{stages({"name: a, steps: 1, losses: [{kin: mse}]"}), "losses.0.kin'"},
        Refusal{stages({"name: a, steps: 1, losses: [{weight: 1}]"}), "losses.0 has no 'kind'"},
        Refusal{"name: a\nstages: 3", "must be a list"},
        Refusal{"name: a\nname: b\nstages: [{name: s}]", "'name' stands twice"},
        Refusal{one_stage("steps: 1.5"), "[r.yaml:4] stages.0.steps is '1.5': a whole number"},
        Refusal{one_stage("epochs: .nan"), "must be finite"},
        Refusal{one_stage("steps: -1"), "must not be negative"},
        Refusal{stages({"name: a, epochs: 1, " + kTrained}), "exclude each other"},
        Refusal{one_stage("steps: 4"), "trains without 'losses'"},
        Refusal{one_stage("losses: [{kind: mse}]"), "stage without steps"},
        Refusal{one_stage("epochs: 0\n    losses: [{kind: mse}]"),
                "[r.yaml:4] stages.0.epochs is 0, but the stage has losses"},
        Refusal{"name: a\nbatch_pairs:", "batch_pairs is empty: a whole number"},
        Refusal{one_stage("sparsity: 0.75"), "2:4 allows 0 to 0.5"},
        Refusal{one_stage("share_rows: 3"), "1, 2, 4, 8, 16 or 32"},
        Refusal{one_stage("share_rows: 2"), "stages share rows, but none prunes"},
        Refusal{"num_labels: 1\n" + stages({"name: a, " + kTrained}),
                "num_labels is 1, but 'cross_entropy'"},
        Refusal{one_stage("pairing: random"), "Use one of: adjacent, least_energy, nearby."},
        Refusal{stages({"name: a, sparsity: 0.5", "name: b, sparsity: 0.25"}),
                "falls from 0.5 to 0.25 without 'regrowth: true'"},
        Refusal{stages({"name: a, sparsity: 0.5, share_rows: 4", "name: b, share_rows: 2"}),
                "shrinks from 4 to 2"},
        Refusal{stages({"name: a", "name: a"}), "is that of an earlier stage"},
        Refusal{stages({"name: a, fake_quantize: true, " + kTrained}), "needs scales"},
        Refusal{one_stage("write_int8: true"), "needs scales"},
        Refusal{stages({"name: a, calibrate: max, write_int8: true, " + kTrained}), "stale"},
        Refusal{one_stage("calibrate: middle"), "stages.0.calibrate is 'middle'"},
        Refusal{stages({"name: a, steps: 1, losses: [{kind: logits, weight: 0}]"}),
                "a loss without weight does nothing"},
        Refusal{stages({"name: a, steps: 1, losses: [{kind: contrastive}]"}), "head: embedding"},
        Refusal{"head: embedding\n" + stages({"name: a, " + kTrained}), "head: classification"},
        Refusal{stages({"name: a, " + kTrained, "name: b, steps: 1, losses: [{kind: mse}]"}),
                "one head cannot serve both"},
        Refusal{stages({"name: a, steps: 1, losses: [{kind: mse}, {kind: mse}]"}), "'mse' twice"},
        Refusal{stages({"name: a, steps: 1, losses: [{kind: mes}]"}), "Use one of: cross_entropy"},
        Refusal{stages({"name: a, sparsity: 0.5, teach: true"}), "wants a dense stage"},
        Refusal{"weight_bits: 1\n" + stages({"name: a"}),
                "[r.yaml:1] weight_bits is 1: 2 to 8 is expected"},
        Refusal{"weight_bits: 9\n" + stages({"name: a"}), "weight_bits is 9: 2 to 8 is expected"},
        Refusal{"weight_bits: 4.5\n" + stages({"name: a"}), "is '4.5': a whole number"},
        Refusal{"saliency: luck\n" + stages({"name: a"}), "saliency"},
        Refusal{"select_metric: beauty\n" + stages({"name: a"}), "Use one of: pnr, accuracy"},
        Refusal{"beta1: 1\n" + stages({"name: a"}), "must lie in [0, 1)"},
        Refusal{one_stage("learning_rate: {peak: 0}"), "learning_rate.peak must be above 0"},
        Refusal{"name: a\ndescription: caf\xE9\nstages: [{name: s}]",
                "[r.yaml:2] is not UTF-8 text. Convert it"},
        Refusal{one_stage("epochs: 1e300"),
                "[r.yaml:4] stages.0.epochs is 1e+300: at most 1000000 is expected"},
        Refusal{one_stage("steps: 4611686018427387904"),
                "stages.0.steps is 4611686018427387904: at most 1000000000"},
        Refusal{one_stage("steps: 99999999999999999999"), "a whole number is expected"},
        Refusal{one_stage("mask_steps: 1001"), "mask_steps is 1001: at most 1000"},
        Refusal{one_stage("calibration_batches: 4611686018427387904"), "at most 1000000"},
        Refusal{"batch_pairs: 1000001\n" + stages({"name: a"}), "[r.yaml:1] batch_pairs is"},
        Refusal{"accumulate: 1000001\n" + stages({"name: a"}), "accumulate is 1000001"},
        Refusal{"max_length: 1000001\n" + stages({"name: a"}), "max_length is 1000001"},
        Refusal{"hard_negatives: 1000001\n" + stages({"name: a"}), "hard_negatives is 1000001"},
        Refusal{"num_labels: 4611686018427387904\n" + stages({"name: a"}), "num_labels is"},
        Refusal{kMasked + "masking: {first_token: 4611686018427387904}\n" + kMaskedStage,
                "masking.first_token is 4611686018427387904: at most"}));

TEST(LimitSteps, ShortensInProportion) {
  Recipe recipe = parse_recipe(
      stages({"name: a, " + kTrained, "name: calibrate, calibrate: max", "name: b, " + kTrained}),
      "r", {{"stages.0.steps", "100"}, {"stages.2.steps", "300"}});
  limit_steps(recipe, 40, 1);
  EXPECT_EQ(recipe.stages[0].steps, 10);
  EXPECT_EQ(recipe.stages[1].steps, 0);
  EXPECT_EQ(recipe.stages[2].steps, 30);
}

TEST(LimitSteps, KeepsAStepInEveryStage) {
  Recipe recipe = shipped("sparse-qat");
  limit_steps(recipe, 7, 1000);
  for (const Stage& stage : recipe.stages) EXPECT_GE(stage.steps, 1);
  EXPECT_EQ(total_steps(recipe), 7);
  limit_steps(recipe, 2, 1000);
  EXPECT_EQ(total_steps(recipe), 5);
}

TEST(LimitSteps, ResolvesEpochs) {
  Recipe recipe = shipped("progressive");
  limit_steps(recipe, 0, 101);
  EXPECT_EQ(recipe.stages[0].steps, 41);
  EXPECT_EQ(recipe.stages[1].steps, 162);
}

TEST(LimitSteps, RefusesMoreStepsThanAnyRunTakes) {
  Recipe recipe = shipped("progressive");
  try {
    limit_steps(recipe, 24, int64_t{1} << 60);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("[recipe progressive] stage 'sparse-25' brings the run to"));
  }
}

TEST(LearningRate, WarmsUpThenFalls) {
  LearningRate rate{.peak = 1, .warmup = 0.1, .schedule = "linear"};
  EXPECT_DOUBLE_EQ(learning_rate_at(rate, 0, 20), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(rate, 1, 20), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(rate, 11, 20), 0.5);
  EXPECT_GT(learning_rate_at(rate, 19, 20), 0);
  rate.schedule = "cosine";
  EXPECT_DOUBLE_EQ(learning_rate_at(rate, 11, 20), 0.5);
  rate.schedule = "constant";
  EXPECT_DOUBLE_EQ(learning_rate_at(rate, 19, 20), 1);
}

}  // namespace
}  // namespace twofour
