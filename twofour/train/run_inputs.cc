#include "twofour/train/run_inputs.h"

#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string_view>
#include <unordered_set>

#include "twofour/backend/backends.h"
#include "twofour/base/error.h"
#include "twofour/io/tokenizer.h"
#include "twofour/train/evaluator.h"

namespace twofour {
namespace {

// --- Labels and head ---------------------------------------------------------------------------

bool whole_numbers(const Dataset& data) {
  return std::ranges::all_of(data.pairs, [](const Pair& pair) {
    return pair.label >= 0 && pair.label == std::floor(pair.label);
  });
}

constexpr const char* kSetLabels = "set num_labels, in the recipe or by --set";

// A label beyond is rather an id or a count than a class.
constexpr int64_t kMostLabels = 1000;

bool learns_labels(const Recipe& recipe) { return uses_loss(recipe, LossKind::kCrossEntropy); }

// Of a head that is made for the data; the reader is asked again because it knows the line.
int64_t labels_in(const Recipe& recipe, const Dataset& data) {
  constexpr auto kMost = static_cast<float>(kMostLabels);
  const float largest = std::ranges::max_element(data.pairs, {}, &Pair::label)->label;
  if (learns_labels(recipe) && largest >= kMost) {
    read_dataset(data.origin,
                 {kMostLabels, "the largest head that is made for labels alone", kSetLabels});
  }
  return std::max<int64_t>(2, static_cast<int64_t>(std::min(largest, kMost)) + 1);
}

// Labels that no class of the head stands for; the reader is asked again because it knows the line.
void check_labels(const Dataset& data, const DatasetOptions& labels) {
  const bool fit = whole_numbers(data) && std::ranges::all_of(data.pairs, [&](const Pair& pair) {
                     return pair.label < static_cast<float>(labels.num_labels);
                   });
  if (!fit) read_dataset(data.origin, labels);
}

std::set<float> distinct_labels(const Dataset& data) {
  std::set<float> labels;
  for (const Pair& pair : data.pairs) labels.insert(pair.label);
  return labels;
}

// Cross-entropy is least where a model gives everything the one label.
void check_is_no_single_label(const Dataset& data) {
  const std::set<float> labels = distinct_labels(data);
  if (labels.size() > 1) return;
  throw Error(data.origin,
              fmt::format("every label is {}: from one class cross_entropy learns nothing",
                          *labels.begin()),
              "Add pairs with another label, such as 0 for what is not relevant");
}

// Of the model's classifier, if it is of the kind that the recipe asks for.
int64_t own_labels(const Recipe& recipe, const ModelConfig& config) {
  return config.head == recipe.head ? config.num_labels : 0;
}

// For who learns its logits, whatever the data's labels are; 0: nobody does, or it has none.
int64_t labels_of_teacher(const Recipe& recipe, const TrainRequest& request) {
  if (request.teacher.empty() || learns_labels(recipe) || !wants_classes(recipe)) return 0;
  const int64_t labels = own_labels(recipe, ModelDirectory::open(request.teacher).config());
  return labels > 1 ? labels : 0;
}

// How many labels the head has, and from where.
DatasetOptions resolve_labels(const Recipe& recipe, const ModelDirectory& model,
                              const TrainRequest& request, const Dataset& train) {
  if (recipe.num_labels > 0) {
    return {recipe.num_labels, fmt::format("recipe '{}'", recipe.name),
            "raise num_labels, in the recipe or by --set"};
  }
  if (const int64_t own = own_labels(recipe, model.config()); own > 0) {
    const bool trained = model.contains("classifier.weight");
    return {own, model.origin(), trained ? "start from an encoder without classifier" : kSetLabels};
  }
  if (recipe.head == HeadKind::kTokenClassification) {
    const int64_t tokens = Tokenizer::open(model)->vocab_size();
    return {std::max<int64_t>(1, tokens - recipe.masking.first_token)};
  }
  if (const int64_t taught = labels_of_teacher(recipe, request); taught > 0) return {taught};
  return {wants_classes(recipe) ? labels_in(recipe, train) : 1,
          fmt::format("a new head for the labels of {}", train.origin), kSetLabels};
}

ModelDirectory with_recipe_head(const Recipe& recipe, const ModelDirectory& model) {
  const ModelConfig& config = model.config();
  if (recipe.head == HeadKind::kEmbedding) {
    return config.head == HeadKind::kEmbedding ? model : model.with_head(HeadKind::kEmbedding, 0);
  }
  const int64_t own = own_labels(recipe, config);
  if (classifies(config.head) && config.head != recipe.head &&
      model.contains("classifier.weight")) {
    const bool tokens = config.head == HeadKind::kTokenClassification;
    throw Error(model.origin(),
                fmt::format("classifies {}, the recipe wants a head that classifies {}",
                            tokens ? "tokens" : "texts", tokens ? "texts" : "tokens"),
                "Start from an encoder without classifier.");
  }
  if (own == recipe.num_labels) return model;
  if (own > 0 && model.contains("classifier.weight")) {
    throw Error(
        model.path().string(),
        fmt::format("has a classifier with num_labels {}, the recipe asks for {}", own,
                    recipe.num_labels),
        fmt::format("Set num_labels to {}, or start from an encoder without classifier.", own));
  }
  return model.with_head(recipe.head, recipe.num_labels);
}

// An embedding model that is trained as a classifier is no longer one, and the reverse.
void tell_of_new_head(const ModelDirectory& model, const ModelConfig& trained,
                      const Callbacks& callbacks) {
  const HeadKind own = model.config().head;
  const bool left = own == HeadKind::kEmbedding || model.contains("classifier.weight");
  if (own == trained.head || own == HeadKind::kNone || !left) return;
  std::string labels;
  if (classifies(trained.head))
    labels = trained.num_labels == 1 ? ", 1 label" : fmt::format(", {} labels", trained.num_labels);
  callbacks.info(fmt::format("new head: {}{}; the model's own head '{}' is left",
                             head_name(trained.head), labels, head_name(own)));
}

void check_head_fits_losses(const Recipe& recipe, const std::string& origin) {
  if (recipe.head != HeadKind::kClassification) return;
  if (wants_classes(recipe) && recipe.num_labels < 2) {
    throw Error(origin, "has one output, but the recipe's losses want at least two labels",
                "Use the loss 'mse' or 'ranknet', or a model without a regression head.");
  }
  if (uses_loss(recipe, LossKind::kMse) && recipe.num_labels != 1) {
    throw Error(origin,
                fmt::format("has {} outputs, but the loss 'mse' wants one", recipe.num_labels),
                "Use 'cross_entropy', or set num_labels to 1 and start from a bare encoder.");
  }
}

// What the recipe's reader has checked must hold without these stages too.
void drop_stages_for_untrained_heads(Recipe& recipe, const std::string& origin,
                                     const Callbacks& callbacks) {
  for (const Stage& stage : recipe.stages) {
    if (!stage.only_untrained_head) continue;
    callbacks.info(
        fmt::format("stage '{}' is left out: it is for untrained heads, and the model's is trained",
                    stage.name));
  }
  std::erase_if(recipe.stages, [](const Stage& stage) { return stage.only_untrained_head; });
  if (recipe.stages.empty()) {
    throw Error(origin, "has no stage for a model whose head is trained already",
                "Use another recipe, or start from an encoder without classifier.");
  }
  bool calibrated = false;
  for (const Stage& stage : recipe.stages) {
    calibrated = calibrated || stage.calibrate.has_value();
    if (calibrated || (!stage.fake_quantize && !stage.write_int8)) continue;
    throw Error(origin,
                fmt::format("stage '{}' needs scales, but only a stage for untrained heads "
                            "calibrates, and this model's head is trained",
                            stage.name),
                "Calibrate in a stage without only_untrained_head.");
  }
}

// --- Teacher -----------------------------------------------------------------------------------

// A stage of the run that teaches before anybody distils.
bool teaches_itself(const Recipe& recipe) {
  for (const Stage& stage : recipe.stages) {
    for (const LossTerm& term : stage.losses) {
      if (is_distillation(term.kind)) return false;
    }
    if (stage.teach) return true;
  }
  return false;
}

// The student's tokens are what the teacher reads; it may know more of them.
void check_vocabulary(const ModelDirectory& student, const ModelDirectory& teacher) {
  const auto ours = Tokenizer::open(student), theirs = Tokenizer::open(teacher);
  for (int32_t id = 0; id < ours->vocab_size(); ++id) {
    const std::string_view token = ours->token(id);
    const std::string_view other = id < theirs->vocab_size() ? theirs->token(id) : "";
    if (token.empty() || token == other) continue;
    throw Error(teacher.origin(),
                fmt::format("has another vocabulary than the model that it teaches: token {} is "
                            "'{}', expected '{}'",
                            id, other, token),
                "Teacher and student read the same tokens.");
  }
}

// The default is cut to what the model reads; a length that somebody names is not.
void check_length(const Recipe& recipe, const ModelDirectory& model) {
  const int64_t most = model.config().max_sequence_length;
  if (recipe.max_length_where.empty() || recipe.max_length <= most) return;
  throw Error(recipe.max_length_where,
              fmt::format("max_length is {}, but {} reads {} tokens at most", recipe.max_length,
                          model.origin(), most),
              fmt::format("Set it to {} or less.", most));
}

// Positions and token types that a network must have a row for to read what the student reads.
void check_tables(const Recipe& recipe, const ModelConfig& student, const ModelDirectory& reader) {
  const ModelConfig& config = reader.config();
  const int64_t length = std::min(recipe.max_length, student.max_sequence_length);
  if (config.max_position_embeddings < length) {
    throw Error(reader.origin(),
                fmt::format("reads {} tokens at most, but sequences may have {}",
                            config.max_position_embeddings, length),
                fmt::format("Set max_length to {} or less.", config.max_position_embeddings));
  }
  const int64_t types = recipe.head == HeadKind::kEmbedding ? 1 : 2;
  if (config.type_vocab_size < types) {
    throw Error(reader.origin(),
                fmt::format("has type_vocab_size {}, but pairs of texts want {}",
                            config.type_vocab_size, types),
                "Take a model with two, as BERT has.");
  }
}

// Also of a stage that teaches later ones, where nobody loads a teacher.
void check_relation_heads(const Recipe& recipe, const ModelConfig& student,
                          const ModelDirectory& model) {
  for (const Stage& stage : recipe.stages) {
    for (const LossTerm& term : stage.losses) {
      if (term.kind != LossKind::kMiniLmV2) continue;
      const int64_t heads =
          term.relation_heads > 0 ? term.relation_heads : student.num_attention_heads;
      const int64_t hidden = model.config().hidden_size;
      if (hidden % heads == 0) continue;
      throw Error(model.origin(),
                  fmt::format("has a hidden size of {}, which the {} relation heads of stage '{}' "
                              "do not divide",
                              hidden, heads, stage.name),
                  "Choose relation_heads that divide the hidden sizes of model and teacher.");
    }
  }
}

void check_teacher(const Recipe& recipe, const ModelDirectory& student,
                   const TeacherInputs& teacher) {
  const ModelConfig &s = student.config(), &t = teacher.model.config();
  const std::string where = teacher.model.path().string();
  if (teacher.model.path() != student.path()) check_vocabulary(student, teacher.model);
  check_tables(recipe, s, teacher.model);
  check_relation_heads(recipe, s, teacher.model);
  const bool shapes = s.hidden_size == t.hidden_size && s.num_hidden_layers == t.num_hidden_layers;
  if (uses_loss(recipe, LossKind::kHiddenStates) && !shapes) {
    throw Error(where,
                fmt::format("has num_hidden_layers {} and hidden_size {}, the model {} and {}: "
                            "'hidden_states' compares them one by one",
                            t.num_hidden_layers, t.hidden_size, s.num_hidden_layers, s.hidden_size),
                "Leave that loss out, or name a teacher of the model's shape.");
  }
  if (uses_loss(recipe, LossKind::kMiniLmV1) && s.num_attention_heads != t.num_attention_heads) {
    throw Error(where,
                fmt::format("has num_attention_heads {}, the model {}", t.num_attention_heads,
                            s.num_attention_heads),
                "Use 'minilm_v2' with relation_heads.");
  }
  if (uses_loss(recipe, LossKind::kLogits) &&
      !check_parameters(teacher.network, teacher.model).empty()) {
    throw Error(where, "has no trained classifier, but the recipe distils its logits",
                "Train it first (recipes/dense.yaml), or name one that is trained as the teacher.");
  }
}

std::optional<TeacherInputs> load_teacher(const TrainRequest& request, const RunInputs& inputs,
                                          const Callbacks& callbacks) {
  const Recipe& recipe = inputs.recipe;
  if (!needs_teacher(recipe) && !request.teacher.empty()) {
    ModelDirectory::open(request.teacher);  // a path that leads nowhere is a mistake all the same
    callbacks.warn(fmt::format("--teacher {} is not used: the recipe distils nothing",
                               request.teacher.string()));
  }
  if (!needs_teacher(recipe)) return std::nullopt;
  if (request.teacher.empty() && teaches_itself(recipe)) return std::nullopt;
  TeacherInputs teacher;
  teacher.model = request.teacher.empty()
                      ? inputs.model
                      : with_recipe_head(recipe, ModelDirectory::open(request.teacher));
  teacher.network = build_network(teacher.model.config());
  check_teacher(recipe, inputs.model, teacher);
  return teacher;
}

// --- Data --------------------------------------------------------------------------------------

// An embedding head without contrastive loss learns from its teacher alone, so texts are enough.
BatchForm batch_form(const Recipe& recipe) {
  if (uses_loss(recipe, LossKind::kContrastive)) return BatchForm::kContrastive;
  if (uses_loss(recipe, LossKind::kRankNet)) return BatchForm::kQueryGroups;
  return recipe.head == HeadKind::kEmbedding ? BatchForm::kTexts : BatchForm::kPairs;
}

void load_data(const TrainRequest& request, RunInputs& inputs) {
  inputs.train = batch_form(inputs.recipe) == BatchForm::kTexts ? read_texts(request.train_data)
                                                                : read_dataset(request.train_data);
  if (!request.dev_data.empty()) inputs.dev = read_dataset(request.dev_data);
}

void tell_of_repeated_pairs(const RunInputs& inputs, const Callbacks& callbacks) {
  std::set<std::string> notes = {repeated_pairs_note(inputs.train)};
  if (inputs.dev) notes.insert(repeated_pairs_note(*inputs.dev));
  for (const std::string& note : notes) {
    if (!note.empty()) callbacks.info(note);
  }
}

// A model knows the answers to queries that it was trained on.
void warn_of_shared_queries(const TrainRequest& request, const RunInputs& inputs,
                            const Callbacks& callbacks) {
  if (!inputs.dev) return;
  const auto& queries = inputs.dev->queries;
  const std::unordered_set<std::string_view> trained(inputs.train.queries.begin(),
                                                     inputs.train.queries.end());
  const auto shared = std::ranges::count_if(
      queries, [&](const std::string& query) { return trained.contains(query); });
  if (shared == 0) return;
  callbacks.warn(
      fmt::format("{} shares queries with {}, {} of {}: dev's metrics will flatter the model",
                  request.dev_data.string(), request.train_data.string(), shared, queries.size()));
}

void warn_of_classes_without_example(const RunInputs& inputs, const Callbacks& callbacks) {
  const Recipe& recipe = inputs.recipe;
  if (!classifies(recipe.head) || !learns_labels(recipe)) return;
  const std::set<float> found = distinct_labels(inputs.train);
  const int64_t lacking = recipe.num_labels - std::ssize(found);
  if (lacking == 0) return;
  int64_t first = 0;
  while (found.contains(static_cast<float>(first))) ++first;
  callbacks.warn(
      fmt::format("{} has no example of {} of {} classes, the first is {}: the model learns not to "
                  "predict them",
                  inputs.train.origin, lacking, recipe.num_labels, first));
}

// What is done with an int8 model instead of what its owner may expect.
void warn_of_lost_int8(const RunInputs& inputs, const Callbacks& callbacks) {
  if (!inputs.model.config().int8) return;
  const bool int8 = inputs.recipe.stages.back().write_int8;
  callbacks.warn(fmt::format("{} is int8: its weights are trained as floats, and the result is {}",
                             inputs.model.origin(),
                             int8 ? "int8 with new scales" : "a float model"));
}

void tokenize(RunInputs& inputs, int threads, const Callbacks& callbacks) {
  const auto tokenizer = Tokenizer::open(inputs.model);
  if (const std::string warning = tokenizer->warning(); !warning.empty()) callbacks.warn(warning);
  ThreadPool pool(threads);
  const Recipe& recipe = inputs.recipe;
  const int64_t length = std::min(recipe.max_length, inputs.model.config().max_sequence_length);
  const bool texts = recipe.head == HeadKind::kEmbedding;
  const auto store = [&](const Dataset& data) {
    return texts ? TokenStore::of_texts(data, *tokenizer, length, pool)
                 : TokenStore::of_pairs(data, *tokenizer, length, pool);
  };
  inputs.train_tokens = store(inputs.train);
  if (inputs.dev) inputs.dev_tokens = store(*inputs.dev);
  if (recipe.head != HeadKind::kTokenClassification) return;
  inputs.masker.emplace(recipe.masking, recipe.num_labels, *tokenizer);
  inputs.masker->check(inputs.train, inputs.train_tokens);
  if (inputs.dev) inputs.masker->check(*inputs.dev, inputs.dev_tokens);
}

void check_evaluation(const RunInputs& inputs) {
  if (!inputs.dev || inputs.recipe.head == HeadKind::kTokenClassification) return;
  forced_kernel({});  // a variable that the engine would refuse at the first evaluation
  selected_metric(defined_metrics(*inputs.dev, inputs.model.config()), inputs.recipe.select_metric,
                  inputs.dev->origin);
}

void plan_steps(const TrainRequest& request, RunInputs& inputs) {
  Recipe& recipe = inputs.recipe;
  inputs.batching = {batch_form(recipe), recipe.batch_pairs, recipe.hard_negatives, recipe.seed};
  const Batcher batcher(inputs.train, inputs.train_tokens, inputs.batching);
  const int64_t batches = batcher.batches_per_epoch();
  limit_steps(recipe, request.max_steps, (batches + recipe.accumulate - 1) / recipe.accumulate);
}

bool wants_bf16(const Recipe& recipe, const TrainingDevice& device) {
  return recipe.autocast == "auto" ? device.bf16 : recipe.autocast == "bf16";
}

Fingerprint fingerprint_of(const TrainRequest& request, const RunInputs& inputs,
                           const TrainingDevice& device, int threads) {
  Fingerprint fingerprint = {{"recipe", to_yaml(inputs.recipe)},
                             {"model", hash_of(inputs.model)},
                             {"training data", hash_of(inputs.train)},
                             {"autocast", inputs.bf16 ? "bf16" : "none"}};
  if (inputs.dev) fingerprint["evaluation data"] = hash_of(*inputs.dev);
  if (inputs.teacher) fingerprint["teacher"] = hash_of(inputs.teacher->model);
  if (request.deterministic) {
    fingerprint["number of threads (--threads)"] = std::to_string(threads);
    fingerprint["processor"] = at::get_cpu_capability();
    fingerprint["LibTorch"] = TORCH_VERSION;
    if (!device.gpu.empty()) fingerprint["GPU"] = device.gpu;
    // By which evaluations choose their kernels, whose floats may differ in their last bits.
    for (const char* name : {"TWOFOUR_FORCE_KERNEL", "TWOFOUR_MAX_ISA"}) {
      const char* value = inputs.dev ? std::getenv(name) : nullptr;
      if (value != nullptr && *value != '\0') fingerprint[name] = value;
    }
  }
  return fingerprint;
}

Sources sources_of(const RunInputs& inputs) {
  return {{"model", inputs.model.origin()},
          {"training data", inputs.train.origin},
          {"evaluation data", inputs.dev ? inputs.dev->origin : ""},
          {"teacher", inputs.teacher ? inputs.teacher->model.origin() : ""}};
}

}  // namespace

RunInputs load_inputs(const TrainRequest& request, const TrainingDevice& device, int threads,
                      const Callbacks& callbacks) {
  RunInputs inputs;
  inputs.recipe = read_recipe(request.recipe, request.overrides);
  const ModelDirectory model = ModelDirectory::open(request.model);
  check_length(inputs.recipe, model);
  load_data(request, inputs);

  Recipe& recipe = inputs.recipe;
  if (classifies(recipe.head)) {
    const DatasetOptions labels = resolve_labels(recipe, model, request, inputs.train);
    recipe.num_labels = labels.num_labels;
    check_head_fits_losses(recipe, request.model.string());
    if (learns_labels(recipe)) {
      check_labels(inputs.train, labels);
      check_is_no_single_label(inputs.train);
      if (inputs.dev) check_labels(*inputs.dev, labels);
    }
  }
  inputs.model = with_recipe_head(recipe, model);
  inputs.network = build_network(inputs.model.config());
  check_tables(recipe, inputs.model.config(), inputs.model);
  if (check_parameters(inputs.network, inputs.model).empty()) {
    drop_stages_for_untrained_heads(recipe, request.recipe.string(), callbacks);
  }
  check_relation_heads(recipe, inputs.model.config(), inputs.model);
  inputs.teacher = load_teacher(request, inputs, callbacks);
  check_evaluation(inputs);
  tokenize(inputs, threads, callbacks);
  plan_steps(request, inputs);
  tell_of_repeated_pairs(inputs, callbacks);
  tell_of_new_head(model, inputs.model.config(), callbacks);
  warn_of_lost_int8(inputs, callbacks);
  warn_of_classes_without_example(inputs, callbacks);
  warn_of_shared_queries(request, inputs, callbacks);
  inputs.bf16 = wants_bf16(recipe, device);
  inputs.fingerprint = fingerprint_of(request, inputs, device, threads);
  inputs.sources = sources_of(inputs);
  return inputs;
}

}  // namespace twofour
