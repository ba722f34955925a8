// Recipes as YAML: reading, validation, writing.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/train/recipe.h"
#include "twofour/train/yaml_reader.h"

namespace twofour {
namespace {

const YamlNames<LossKind>& loss_names() {
  static const YamlNames<LossKind> names = [] {
    YamlNames<LossKind> list;
    for (const LossKind kind :
         {LossKind::kCrossEntropy, LossKind::kMse, LossKind::kRankNet, LossKind::kContrastive,
          LossKind::kMaskedTokens, LossKind::kLogits, LossKind::kHiddenStates, LossKind::kMiniLmV1,
          LossKind::kMiniLmV2}) {
      list.emplace_back(loss_name(kind), kind);
    }
    return list;
  }();
  return names;
}

const YamlNames<RowPairing> kPairings = {{"adjacent", RowPairing::kAdjacent},
                                         {"least_energy", RowPairing::kLeastEnergy},
                                         {"nearby", RowPairing::kNearby}};
const YamlNames<HeadKind> kHeads = {{"classification", HeadKind::kClassification},
                                    {"embedding", HeadKind::kEmbedding},
                                    {"token_classification", HeadKind::kTokenClassification}};
const YamlNames<OptimizerKind> kOptimizers = {{"adamw", OptimizerKind::kAdamW},
                                              {"sgd", OptimizerKind::kSgd}};
const YamlNames<MaskedSegment> kSegments = {{"first", MaskedSegment::kFirst},
                                            {"second", MaskedSegment::kSecond},
                                            {"both", MaskedSegment::kBoth}};
const YamlNames<MaskedShare> kShares = {{"constant", MaskedShare::kConstant},
                                        {"cosine", MaskedShare::kCosine}};
const YamlNames<std::string> kSchedules = {
    {"linear", "linear"}, {"cosine", "cosine"}, {"constant", "constant"}};
constexpr std::string_view kMaskedAccuracy = "masked_accuracy";
// As aggregate() of metrics/ranking.h names them; the last one is the evaluator's own.
const YamlNames<std::string> kMetrics = {
    {"pnr", "pnr"},       {"accuracy", "accuracy"},     {"ndcg@10", "ndcg@10"},
    {"f1@345", "f1@345"}, {"recall@345", "recall@345"}, {kMaskedAccuracy, "masked_accuracy"}};
const YamlNames<std::string> kAutocasts = {{"auto", "auto"}, {"bf16", "bf16"}, {"none", "none"}};

// Above what any run can use; their products stay far below what 64 bits hold.
constexpr int64_t kMostPerStep = 1'000'000;        // pairs, micro-batches, batches, tokens
constexpr int64_t kMostMasks = 1000;               // of a stage
constexpr int64_t kMostTokens = int64_t{1} << 31;  // of a vocabulary
constexpr double kMostEpochs = 1e6;

// --- Reading -----------------------------------------------------------------------------------

template <class T>
void require_at_most(const YamlReader& reader, const std::string& key, T value, T most) {
  reader.require(value <= most, key, fmt::format("is {}: at most {} is expected", value, most));
}

LearningRate read_learning_rate(YamlReader reader) {
  LearningRate rate;
  reader.read("peak", rate.peak);
  reader.read("warmup", rate.warmup);
  reader.read("schedule", rate.schedule, kSchedules);
  reader.finish();
  reader.require(rate.peak > 0, "peak", "must be above 0");
  reader.require(rate.warmup >= 0 && rate.warmup < 1, "warmup", "must lie in [0, 1)");
  return rate;
}

LossTerm read_loss(YamlReader reader) {
  LossTerm term;
  const bool has_kind = reader.read("kind", term.kind, loss_names());
  if (term.kind == LossKind::kContrastive) term.temperature = 0.05;
  reader.read("weight", term.weight);
  reader.read("temperature", term.temperature);
  reader.read("relation_heads", term.relation_heads);
  reader.finish();
  reader.require(has_kind, "", "has no 'kind'");
  reader.require(term.weight > 0, "weight", "must be above 0: a loss without weight does nothing");
  reader.require(term.temperature > 0, "temperature", "must be above 0");
  reader.require(term.relation_heads >= 0, "relation_heads", "must not be negative");
  return term;
}

struct StageInFile {
  Stage stage;
  int64_t mask_steps = 1;
};

void read_sparsity(YamlReader& reader, const Stage* before, StageInFile& in_file) {
  Stage& stage = in_file.stage;
  if (before) {
    stage.sparsity = before->sparsity;
    stage.share_rows = before->share_rows;
    stage.pairing = before->pairing;
  }
  reader.read("sparsity", stage.sparsity);
  reader.read("regrowth", stage.regrowth);
  reader.read("share_rows", stage.share_rows);
  reader.read("pairing", stage.pairing, kPairings);
  reader.read("mask_steps", in_file.mask_steps);
  reader.require(stage.sparsity >= 0 && stage.sparsity <= 0.5, "sparsity",
                 fmt::format("is {}: 2:4 allows 0 to 0.5", stage.sparsity),
                 "Set it to 0.5, two of four weights, or less.");
  static const std::set<int> kShares = {1, 2, 4, 8, 16, 32};
  reader.require(kShares.contains(stage.share_rows), "share_rows",
                 fmt::format("is {}: 1, 2, 4, 8, 16 or 32 is expected", stage.share_rows));
  reader.require(in_file.mask_steps >= 1, "mask_steps", "must be at least 1");
  require_at_most(reader, "mask_steps", in_file.mask_steps, kMostMasks);
  if (before && !stage.regrowth) {
    constexpr const char* kRemedy = "Let it rise from stage to stage, or set 'regrowth: true'.";
    reader.require(stage.sparsity >= before->sparsity, "sparsity",
                   fmt::format("falls from {} to {} without 'regrowth: true'", before->sparsity,
                               stage.sparsity),
                   kRemedy);
    reader.require(before->sparsity == 0 || stage.share_rows >= before->share_rows, "share_rows",
                   fmt::format("shrinks from {} to {} without 'regrowth: true'", before->share_rows,
                               stage.share_rows),
                   kRemedy);
  }
}

void read_quantization(YamlReader& reader, bool calibrated, Stage& stage) {
  reader.read("fake_quantize", stage.fake_quantize);
  std::string method;
  if (reader.read("calibrate", method)) {
    try {
      stage.calibrate = CalibrationMethod::parse(method);
    } catch (const Error& error) {
      reader.fail("calibrate", fmt::format("is '{}': {}", method, error.what()));
    }
  }
  reader.read("calibration_batches", stage.calibration_batches);
  reader.require(stage.calibration_batches > 0, "calibration_batches", "must be above 0");
  require_at_most(reader, "calibration_batches", stage.calibration_batches, kMostPerStep);
  stage.write_int8 = stage.fake_quantize;
  reader.read("write_int8", stage.write_int8);
  calibrated = calibrated || stage.calibrate.has_value();
  constexpr const char* kRemedy = "Set 'calibrate' here or in an earlier stage.";
  reader.require(!stage.fake_quantize || calibrated, "fake_quantize", "needs scales", kRemedy);
  reader.require(!stage.write_int8 || calibrated, "write_int8", "needs scales", kRemedy);
  const bool trains = stage.steps > 0 || stage.epochs > 0;
  reader.require(!stage.write_int8 || stage.fake_quantize || !trains, "write_int8",
                 "wants 'fake_quantize: true' in a stage that trains, or scales would be stale",
                 "Set both, or calibrate in a stage after this one.");
}

// Steps or epochs. An override of one takes the place of the other where the file has that.
void read_length(YamlReader& reader, Stage& stage) {
  reader.read("steps", stage.steps);
  reader.read("epochs", stage.epochs);
  reader.require(stage.steps >= 0, "steps", "must not be negative");
  reader.require(stage.epochs >= 0, "epochs", "must not be negative");
  require_at_most(reader, "steps", stage.steps, kMostSteps);
  require_at_most(reader, "epochs", stage.epochs, kMostEpochs);
  if (stage.steps == 0 || stage.epochs == 0) return;
  const bool steps = reader.overridden("steps");
  if (steps == reader.overridden("epochs")) {
    reader.fail("epochs", "and 'steps' exclude each other", "Keep one of them.");
  }
  if (steps) {
    stage.epochs = 0;
  } else {
    stage.steps = 0;
  }
}

// The head that a loss can serve: `head` itself if it can.
HeadKind wanted_head(LossKind kind, HeadKind head) {
  switch (kind) {
    case LossKind::kContrastive:
      return HeadKind::kEmbedding;
    case LossKind::kMaskedTokens:
      return HeadKind::kTokenClassification;
    case LossKind::kCrossEntropy:
    case LossKind::kMse:
    case LossKind::kRankNet:
      return HeadKind::kClassification;
    case LossKind::kLogits:
      return classifies(head) ? head : HeadKind::kClassification;
    case LossKind::kHiddenStates:
    case LossKind::kMiniLmV1:
    case LossKind::kMiniLmV2:
      break;
  }
  return head;
}

[[noreturn]] void fail_for_losses_without_steps(const YamlReader& reader) {
  constexpr const char* kRemedy =
      "A stage trains with 'steps' or 'epochs' above 0 and losses, or has neither.";
  for (const char* length : {"epochs", "steps"}) {
    if (reader.has(length)) reader.fail(length, "is 0, but the stage has losses", kRemedy);
  }
  reader.fail("losses", "stand in a stage without steps", kRemedy);
}

void check_losses(const YamlReader& reader, const Stage& stage, HeadKind head) {
  const bool trains = stage.steps > 0 || stage.epochs > 0;
  if (!trains && !stage.losses.empty()) fail_for_losses_without_steps(reader);
  if (trains && stage.losses.empty()) {
    reader.fail("", "trains without 'losses'", "Give it some, or neither 'steps' nor 'epochs'.");
  }
  for (size_t i = 0; i < stage.losses.size(); ++i) {
    const LossKind kind = stage.losses[i].kind;
    const std::string name(loss_name(kind));
    const HeadKind wanted = wanted_head(kind, head);
    if (wanted != head) {
      reader.fail("losses",
                  fmt::format("use '{}', which wants 'head: {}'", name, head_name(wanted)));
    }
    for (size_t j = 0; j < i; ++j) {
      if (stage.losses[j].kind == kind) reader.fail("losses", "name '" + name + "' twice");
    }
  }
}

StageInFile read_stage(YamlReader reader, const Stage* before, bool calibrated, HeadKind head) {
  StageInFile in_file;
  Stage& stage = in_file.stage;
  reader.read("name", stage.name);
  read_length(reader, stage);
  reader.read("only_untrained_head", stage.only_untrained_head);
  reader.read("teach", stage.teach);
  read_sparsity(reader, before, in_file);
  read_quantization(reader, calibrated, stage);
  for (YamlReader& rate : reader.read_map("learning_rate")) {
    stage.learning_rate = read_learning_rate(std::move(rate));
  }
  for (YamlReader& loss : reader.read_list("losses")) stage.losses.push_back(read_loss(loss));
  reader.finish();
  reader.require(!stage.name.empty(), "", "has no 'name'");
  check_losses(reader, stage, head);
  reader.require(!stage.teach || stage.sparsity == 0, "teach", "wants a dense stage",
                 "Teach in a stage before the first sparse one.");
  return in_file;
}

// A stage that reaches its sparsity in n mask steps is n stages of equal length.
void append_expanded(const StageInFile& in_file, double sparsity_before, std::vector<Stage>& out) {
  const int64_t n = in_file.mask_steps;
  for (int64_t i = 1; i <= n; ++i) {
    Stage stage = in_file.stage;
    if (n > 1) {
      stage.name = fmt::format("{}-{}of{}", stage.name, i, n);
      stage.sparsity = i == n
                           ? stage.sparsity
                           : sparsity_before + (stage.sparsity - sparsity_before) *
                                                   static_cast<double>(i) / static_cast<double>(n);
      stage.epochs /= static_cast<double>(n);
      stage.steps = in_file.stage.steps * i / n - in_file.stage.steps * (i - 1) / n;
      stage.write_int8 = stage.write_int8 && i == n;
    }
    out.push_back(std::move(stage));
  }
}

void read_stages(YamlReader& reader, Recipe& recipe) {
  bool calibrated = false;
  std::set<std::string> names;
  for (YamlReader& stage_reader : reader.read_list("stages")) {
    const Stage* before = recipe.stages.empty() ? nullptr : &recipe.stages.back();
    const StageInFile in_file = read_stage(stage_reader, before, calibrated, recipe.head);
    const int64_t steps = in_file.stage.steps;
    stage_reader.require(steps == 0 || steps >= in_file.mask_steps, "mask_steps",
                         "must not be above 'steps'", "Each mask trains for a step or more.");
    stage_reader.require(names.insert(in_file.stage.name).second, "name",
                         "is that of an earlier stage");
    calibrated = calibrated || in_file.stage.calibrate.has_value();
    append_expanded(in_file, before ? before->sparsity : 0, recipe.stages);
  }
}

void read_data_options(YamlReader& reader, Recipe& recipe) {
  reader.read("batch_pairs", recipe.batch_pairs);
  reader.read("accumulate", recipe.accumulate);
  if (reader.read("max_length", recipe.max_length))
    recipe.max_length_where = reader.where("max_length");
  reader.read("hard_negatives", recipe.hard_negatives);
  reader.require(recipe.batch_pairs > 0, "batch_pairs", "must be above 0");
  reader.require(recipe.accumulate > 0, "accumulate", "must be above 0");
  reader.require(recipe.max_length >= 8, "max_length", "must be at least 8");
  reader.require(recipe.hard_negatives >= 0, "hard_negatives", "must not be negative");
  require_at_most(reader, "batch_pairs", recipe.batch_pairs, kMostPerStep);
  require_at_most(reader, "accumulate", recipe.accumulate, kMostPerStep);
  require_at_most(reader, "max_length", recipe.max_length, kMostPerStep);
  require_at_most(reader, "hard_negatives", recipe.hard_negatives, kMostPerStep);
}

void read_model_options(YamlReader& reader, Recipe& recipe) {
  reader.read("autocast", recipe.autocast, kAutocasts);
  reader.read("dropout", recipe.dropout);
  reader.read("head", recipe.head, kHeads);
  reader.read("num_labels", recipe.num_labels);
  reader.read("saliency", recipe.saliency);
  reader.read("keep_dense", recipe.keep_dense);
  reader.read("weight_bits", recipe.weight_bits);
  reader.require(recipe.dropout < 1, "dropout", "must lie below 1 (-1: the model's own)");
  reader.require(recipe.num_labels >= 0, "num_labels", "must not be negative");
  require_at_most(reader, "num_labels", recipe.num_labels, kMostTokens);
  reader.require(recipe.weight_bits >= 2 && recipe.weight_bits <= 8, "weight_bits",
                 fmt::format("is {}: 2 to 8 is expected", recipe.weight_bits));
  try {
    saliency_by_name(recipe.saliency);
  } catch (const Error& error) {
    reader.fail("saliency", error.what());
  }
}

void read_masking(YamlReader& reader, Recipe& recipe) {
  for (YamlReader& masking : reader.read_map("masking")) {
    masking.read("segment", recipe.masking.segment, kSegments);
    masking.read("share", recipe.masking.share, kShares);
    const bool constant = masking.read("constant", recipe.masking.constant);
    masking.read("first_token", recipe.masking.first_token);
    masking.finish();
    masking.require(recipe.masking.constant > 0 && recipe.masking.constant <= 1, "constant",
                    "must lie in (0, 1]");
    masking.require(!constant || recipe.masking.share == MaskedShare::kConstant, "constant",
                    "wants 'share: constant'");
    masking.require(recipe.masking.first_token >= 0, "first_token", "must not be negative");
    require_at_most(masking, "first_token", recipe.masking.first_token, kMostTokens);
    reader.require(recipe.head == HeadKind::kTokenClassification, "masking",
                   "wants 'head: token_classification'");
  }
}

void read_optimizer_options(YamlReader& reader, Recipe& recipe) {
  reader.read("optimizer", recipe.optimizer, kOptimizers);
  const bool adamw = recipe.optimizer == OptimizerKind::kAdamW;
  for (const auto& [key, value] :
       {std::pair{"beta1", &recipe.beta1}, {"beta2", &recipe.beta2}, {"epsilon", &recipe.epsilon}})
    reader.require(!reader.read(key, *value) || adamw, key, "wants 'optimizer: adamw'");
  reader.require(!reader.read("momentum", recipe.momentum) || !adamw, "momentum",
                 "wants 'optimizer: sgd'");
  reader.read("weight_decay", recipe.weight_decay);
  reader.read("clip_norm", recipe.clip_norm);
  reader.require(recipe.beta1 >= 0 && recipe.beta1 < 1, "beta1", "must lie in [0, 1)");
  reader.require(recipe.momentum >= 0 && recipe.momentum < 1, "momentum", "must lie in [0, 1)");
  reader.require(recipe.beta2 >= 0 && recipe.beta2 < 1, "beta2", "must lie in [0, 1)");
  reader.require(recipe.epsilon > 0, "epsilon", "must be above 0");
  reader.require(recipe.weight_decay >= 0, "weight_decay", "must not be negative");
  reader.require(recipe.clip_norm > 0, "clip_norm", "must be above 0");
}

void read_evaluation_options(YamlReader& reader, Recipe& recipe) {
  reader.read("evaluate_every", recipe.evaluate_every);
  const bool masked = recipe.head == HeadKind::kTokenClassification;
  if (masked) recipe.select_metric = kMaskedAccuracy;
  reader.read("select_metric", recipe.select_metric, kMetrics);
  reader.require(
      masked == (recipe.select_metric == kMaskedAccuracy), "select_metric",
      fmt::format("is '{}', which a head of this kind does not have", recipe.select_metric));
  reader.read("patience", recipe.patience);
  reader.require(recipe.evaluate_every >= 0, "evaluate_every", "must not be negative");
  reader.require(recipe.patience >= 0, "patience", "must not be negative");
}

Recipe read_tree(YamlReader reader) {
  Recipe recipe;
  const bool has_name = reader.read("name", recipe.name);
  reader.read("description", recipe.description);
  reader.read("seed", recipe.seed);
  read_data_options(reader, recipe);
  read_model_options(reader, recipe);
  read_masking(reader, recipe);
  read_optimizer_options(reader, recipe);
  read_evaluation_options(reader, recipe);
  read_stages(reader, recipe);
  reader.require(recipe.weight_bits == 8 || std::ranges::any_of(recipe.stages, &Stage::write_int8),
                 "weight_bits", "wants a stage that is written as int8");
  reader.require(
      recipe.head != HeadKind::kClassification || recipe.num_labels != 1 || !wants_classes(recipe),
      "num_labels", "is 1, but 'cross_entropy' and 'logits' want two or more",
      "Raise it, leave it out, or train 'mse' or 'ranknet'.");
  reader.require(
      std::ranges::any_of(recipe.stages, [](const Stage& s) { return s.sparsity > 0; }) ||
          std::ranges::all_of(recipe.stages, [](const Stage& s) { return s.share_rows == 1; }),
      "stages", "share rows, but none prunes", "Set 'sparsity', or leave out 'share_rows'.");
  reader.finish();
  reader.require(has_name, "name", "is missing");
  reader.require(!recipe.stages.empty(), "stages", "are missing: a recipe needs at least one");
  if (uses_loss(recipe, LossKind::kMse) && uses_loss(recipe, LossKind::kCrossEntropy)) {
    reader.fail("stages", "mix 'mse' and 'cross_entropy': one head cannot serve both",
                "Keep one of the two losses.");
  }
  return recipe;
}

Recipe parse(const std::string& yaml, const std::string& origin, const RecipeOverrides& overrides) {
  const YamlSource source(yaml, origin, overrides);
  return read_tree({source, source.root(), ""});
}

bool parses(const std::string& yaml, const std::string& origin, const RecipeOverrides& overrides) {
  try {
    parse(yaml, origin, overrides);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// An override may make another key of the file wrong: of a good file it is what is at fault. Throws
// if so.
void blame_override(const std::string& yaml, const std::string& origin,
                    const RecipeOverrides& overrides, const Error& error) {
  const std::string_view message = error.what();
  if (overrides.empty() || message.starts_with("[--set ") || !parses(yaml, origin, {})) return;
  std::string guilty = "--set";
  for (const auto& [path, value] : overrides) {
    RecipeOverrides others = overrides;
    others.erase(path);
    if (!parses(yaml, origin, others)) continue;
    guilty = "--set " + path;
    break;
  }
  throw Error(guilty, fmt::format("does not fit the recipe: {}", message));
}

// --- Writing -----------------------------------------------------------------------------------

// Shortest text that reads back as the same double.
std::string number(double value) { return fmt::format("{}", value); }

void write_loss(YAML::Emitter& out, const LossTerm& term) {
  out << YAML::Flow << YAML::BeginMap;
  out << YAML::Key << "kind" << YAML::Value << std::string(loss_name(term.kind));
  out << YAML::Key << "weight" << YAML::Value << number(term.weight);
  out << YAML::Key << "temperature" << YAML::Value << number(term.temperature);
  out << YAML::Key << "relation_heads" << YAML::Value << term.relation_heads;
  out << YAML::EndMap;
}

void write_stage(YAML::Emitter& out, const Stage& stage) {
  const auto entry = [&](const char* key, const auto& value) {
    out << YAML::Key << key << YAML::Value << value;
  };
  out << YAML::BeginMap;
  entry("name", stage.name);
  entry("steps", stage.steps);
  entry("epochs", number(stage.epochs));
  entry("only_untrained_head", stage.only_untrained_head);
  entry("teach", stage.teach);
  entry("sparsity", number(stage.sparsity));
  entry("regrowth", stage.regrowth);
  entry("share_rows", stage.share_rows);
  entry("pairing", std::string(name_of(kPairings, stage.pairing)));
  entry("fake_quantize", stage.fake_quantize);
  if (stage.calibrate) entry("calibrate", stage.calibrate->to_string());
  entry("calibration_batches", stage.calibration_batches);
  entry("write_int8", stage.write_int8);
  out << YAML::Key << "learning_rate" << YAML::Value << YAML::Flow << YAML::BeginMap;
  entry("peak", number(stage.learning_rate.peak));
  entry("warmup", number(stage.learning_rate.warmup));
  entry("schedule", stage.learning_rate.schedule);
  out << YAML::EndMap;
  out << YAML::Key << "losses" << YAML::Value << YAML::BeginSeq;
  for (const LossTerm& term : stage.losses) write_loss(out, term);
  out << YAML::EndSeq << YAML::EndMap;
}

void write_masking(YAML::Emitter& out, const Masking& masking) {
  out << YAML::Key << "masking" << YAML::Value << YAML::Flow << YAML::BeginMap;
  out << YAML::Key << "segment" << YAML::Value << std::string(name_of(kSegments, masking.segment));
  out << YAML::Key << "share" << YAML::Value << std::string(name_of(kShares, masking.share));
  if (masking.share == MaskedShare::kConstant) {
    out << YAML::Key << "constant" << YAML::Value << number(masking.constant);
  }
  out << YAML::Key << "first_token" << YAML::Value << masking.first_token;
  out << YAML::EndMap;
}

void write_options(YAML::Emitter& out, const Recipe& recipe) {
  const auto entry = [&](const char* key, const auto& value) {
    out << YAML::Key << key << YAML::Value << value;
  };
  entry("name", recipe.name);
  entry("description", recipe.description);
  entry("seed", recipe.seed);
  entry("batch_pairs", recipe.batch_pairs);
  entry("accumulate", recipe.accumulate);
  entry("max_length", recipe.max_length);
  entry("hard_negatives", recipe.hard_negatives);
  entry("autocast", recipe.autocast);
  entry("dropout", number(recipe.dropout));
  entry("head", std::string(head_name(recipe.head)));
  entry("num_labels", recipe.num_labels);
  if (recipe.head == HeadKind::kTokenClassification) write_masking(out, recipe.masking);
  entry("optimizer", std::string(name_of(kOptimizers, recipe.optimizer)));
  if (recipe.optimizer == OptimizerKind::kAdamW) {
    entry("beta1", number(recipe.beta1));
    entry("beta2", number(recipe.beta2));
    entry("epsilon", number(recipe.epsilon));
  } else {
    entry("momentum", number(recipe.momentum));
  }
  entry("weight_decay", number(recipe.weight_decay));
  entry("clip_norm", number(recipe.clip_norm));
  entry("saliency", recipe.saliency);
  out << YAML::Key << "keep_dense" << YAML::Value << YAML::Flow << YAML::BeginSeq;
  for (const std::string& glob : recipe.keep_dense) out << YAML::DoubleQuoted << glob;
  out << YAML::EndSeq;
  if (recipe.weight_bits != Recipe{}.weight_bits) entry("weight_bits", recipe.weight_bits);
  entry("evaluate_every", recipe.evaluate_every);
  entry("select_metric", recipe.select_metric);
  entry("patience", recipe.patience);
}

// A recipe's name stands for its file in the tables of the documents.
std::string meant_by(const std::filesystem::path& path) {
  const std::filesystem::path shipped = path.parent_path() / "recipes" / path.filename();
  for (const std::string& name :
       {path.string() + ".yaml", shipped.string(), shipped.string() + ".yaml"}) {
    std::error_code absent;
    if (std::filesystem::exists(name, absent)) return fmt::format("Did you mean {}?", name);
  }
  return "A recipe is a file, such as recipes/dense.yaml, which comes with twofour";
}

}  // namespace

std::string_view head_name(HeadKind head) { return name_of(kHeads, head); }

Recipe read_recipe(const std::filesystem::path& path, const RecipeOverrides& overrides) {
  if (!is_there(path)) throw Error(path.string(), "no such recipe", meant_by(path));
  return parse_recipe(read_file(path), path.string(), overrides);
}

Recipe parse_recipe(const std::string& yaml, const std::string& origin,
                    const RecipeOverrides& overrides) {
  try {
    return parse(yaml, origin, overrides);
  } catch (const Error& error) {
    blame_override(yaml, origin, overrides, error);
    throw;
  }
}

std::string to_yaml(const Recipe& recipe) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  write_options(out, recipe);
  out << YAML::Key << "stages" << YAML::Value << YAML::BeginSeq;
  for (const Stage& stage : recipe.stages) write_stage(out, stage);
  out << YAML::EndSeq << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace twofour
