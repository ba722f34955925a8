// A recipe: a list of stages that turns a dense checkpoint into what is served. Read from YAML.
//
// The keys of a recipe file are the names of the members below, in the same nesting:
//
//   name: example
//   seed: 1
//   keep_dense: ["encoder.layer.0.*"]
//   stages:
//     - name: sparse
//       epochs: 2
//       sparsity: 0.5
//       mask_steps: 2                       # reached in two stages: 0.25, then 0.5
//       learning_rate: {peak: 3e-4, warmup: 0.1, schedule: linear}
//       losses:
//         - {kind: cross_entropy, weight: 0.125}
//         - {kind: logits, weight: 1, temperature: 2}
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/io/model_directory.h"
#include "twofour/quant/calibrator.h"
#include "twofour/sparse/mask.h"

namespace twofour {

enum class LossKind {
  kCrossEntropy,
  kMse,
  kRankNet,       // over pairs of one query with different labels inside the batch
  kContrastive,   // embedding heads: in-batch and hard negatives
  kMaskedTokens,  // token classification heads: cross-entropy of the tokens that `masking` hides
  kLogits,        // T^2 KL(teacher || student), batch mean; of the hidden tokens if any are
  kHiddenStates,  // sum over layers of MSE / mean(teacher^2), non-padding tokens
  kMiniLmV1,      // attention (QK^T) and value (VV^T) relations of the last layer
  kMiniLmV2,      // QQ^T, KK^T, VV^T over relation heads
};

// "cross_entropy", "mse", "ranknet", "contrastive", "masked_tokens", "logits", "hidden_states",
// "minilm_v1", "minilm_v2"
std::string_view loss_name(LossKind kind);

struct LossTerm {
  LossKind kind = LossKind::kCrossEntropy;
  double weight = 1;
  double temperature = 2;      // kLogits; kContrastive, where it is 0.05 unless given
  int64_t relation_heads = 0;  // kMiniLmV2; 0: the model's heads
};

struct LearningRate {
  double peak = 1e-4;
  double warmup = 0.06;             // share of the stage's steps
  std::string schedule = "linear";  // "linear" to 0, "cosine" to 0, "constant"
};

// The rate for step `step` (from 0) of a stage of `steps` steps.
double learning_rate_at(const LearningRate& rate, int64_t step, int64_t steps);

struct Stage {
  std::string name;
  // Length: one of the two is > 0, unless the stage only prunes or calibrates (both 0).
  int64_t steps = 0;
  double epochs = 0;

  // The stage runs only if the model comes without a trained head.
  bool only_untrained_head = false;
  // What leaves this stage teaches the later ones, unless the caller names a teacher.
  bool teach = false;

  // Sparsity, share_rows and pairing are those of the stage before where the file does not name
  // them.
  double sparsity = 0;    // share of zeros to hold from the first step of the stage on
  bool regrowth = false;  // recompute masks from all weights instead of nesting
  int share_rows = 1;
  RowPairing pairing = RowPairing::kLeastEnergy;  // how rows find each other where share_rows > 1

  bool fake_quantize = false;  // QAT; needs a calibration here or in an earlier stage
  std::optional<CalibrationMethod> calibrate;  // run calibration at the start of the stage
  int64_t calibration_batches = 32;
  bool write_int8 = false;  // the result is stored as int8 if this is the last stage; as
                            // fake_quantize unless given

  LearningRate learning_rate;
  std::vector<LossTerm> losses;
};

// "classification", "embedding", "token_classification"; `head` is not kNone, for which no recipe
// asks.
std::string_view head_name(HeadKind head);

enum class OptimizerKind { kAdamW, kSgd };  // "adamw", "sgd"; see optimizer.h

enum class MaskedSegment { kFirst, kSecond, kBoth };  // "first", "second", "both": of two texts
enum class MaskedShare {
  kConstant,  // "constant"
  kCosine,    // "cosine": cos(pi / 2 * u), u uniform in [0, 1), drawn for each sequence
};

// Which tokens are hidden from a model with a token classification head; see masking.h.
struct Masking {
  MaskedSegment segment = MaskedSegment::kBoth;
  MaskedShare share = MaskedShare::kConstant;
  double constant = 0.15;
  int64_t first_token = 0;  // class c of the head stands for token first_token + c
};

struct Recipe {
  std::string name;
  std::string description;
  uint64_t seed = 1;

  int64_t batch_pairs = 64;  // of a micro-batch
  int64_t accumulate = 1;    // micro-batches for one optimizer step
  int64_t max_length = 128;
  // Where the file or a setting names max_length, for messages; empty: the default, which is cut to
  // what the model reads.
  std::string max_length_where;
  int64_t hard_negatives =
      1;  // kContrastive: documents of the query without a label above 0, for each positive
  std::string autocast = "auto";  // "auto": bf16 where the device has it; "bf16"; "none"
  double dropout = -1;  // -1: the model's own; else in its place, where the model has some

  HeadKind head = HeadKind::kClassification;
  // 0: the model's own; where it has no head, from the training data, or all tokens from
  // masking.first_token on.
  int64_t num_labels = 0;
  Masking masking;  // token classification heads

  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // of AdamW
  double momentum = 0.9;                              // of SGD
  double weight_decay = 0.01, clip_norm = 1.0;

  std::string saliency = "energy";
  std::vector<std::string> keep_dense;  // globs over layer names

  // 2 to 8: int8 weights, simulated and written, stay within +-(2^(weight_bits - 1) - 1). They are
  // stored as int8 all the same.
  int weight_bits = 8;

  int64_t evaluate_every = 0;             // steps; 0: at the end of a stage
  std::string select_metric = "ndcg@10";  // "masked_accuracy" for token classification heads
  int64_t patience = 0;  // evaluations without a better dev metric before a stage ends; 0: never

  std::vector<Stage> stages;
};

// More than any run takes, and few enough that what is computed from them does not overflow.
inline constexpr int64_t kMostSteps = 1'000'000'000;  // of a run, and of a stage

// "stages.0.steps" -> "100": a path of keys and list indices ("*" means every element) and the YAML
// that takes its place. A stage's steps take the place of its epochs too, and epochs that of steps.
using RecipeOverrides = std::map<std::string, std::string>;

// Throws Error with file, line and key, or with "--set KEY" where an override is at fault: unknown
// keys, wrong types, impossible schedules (sparsity that falls without regrowth or above what 2:4
// allows, share_rows that shrinks, QAT without a calibration, a loss that does not fit). Of a file
// that is absent it says which may be meant.
Recipe read_recipe(const std::filesystem::path& path, const RecipeOverrides& overrides = {});
Recipe parse_recipe(const std::string& yaml, const std::string& origin,
                    const RecipeOverrides& overrides = {});

// The recipe with every default written out. Equal recipes give equal text; parse_recipe reads it
// back.
std::string to_yaml(const Recipe& recipe);

bool is_distillation(LossKind kind);

// True if some stage has a loss of that kind.
bool uses_loss(const Recipe& recipe, LossKind kind);
bool wants_classes(const Recipe& recipe);  // two labels or more

// True if some stage has a distillation loss.
bool needs_teacher(const Recipe& recipe);

// Optimizer steps of the whole recipe; stages must have been resolved by limit_steps.
int64_t total_steps(const Recipe& recipe);

// Resolves epochs into steps, then shortens every stage in proportion so that the sum of steps is
// at most `max_steps` (each trained stage keeps >= 1). 0: no limit. Throws Error naming the stage
// that brings the sum above kMostSteps, whatever `max_steps`.
void limit_steps(Recipe& recipe, int64_t max_steps, int64_t steps_per_epoch);

}  // namespace twofour
