// A recipe: a list of stages that turns a dense checkpoint into what is served. Read from YAML.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "twofour/quant/calibrator.h"
#include "twofour/sparse/mask.h"

namespace twofour {

enum class LossKind {
  kCrossEntropy,
  kMse,
  kRankNet,       // over pairs of one query with different labels inside the batch
  kContrastive,   // embedding heads: in-batch and hard negatives
  kLogits,        // T^2 KL(teacher || student), batch mean
  kHiddenStates,  // sum over layers of MSE / mean(teacher^2), non-padding tokens
  kMiniLmV1,      // attention (QK^T) and value (VV^T) relations of the last layer
  kMiniLmV2,      // QQ^T, KK^T, VV^T over relation heads
};

struct LossTerm {
  LossKind kind = LossKind::kCrossEntropy;
  double weight = 1;
  double temperature = 2;    // kLogits, kContrastive
  int64_t relation_heads = 0;  // kMiniLmV2; 0: the model's heads
};

struct LearningRate {
  double peak = 1e-4;
  double warmup = 0.06;  // share of the stage's steps
  std::string schedule = "linear";  // "linear" to 0, "cosine" to 0, "constant"
};

struct Stage {
  std::string name;
  // Length: one of the two is > 0, unless the stage only calibrates (both 0).
  int64_t steps = 0;
  double epochs = 0;

  double sparsity = 0;     // share of zeros to hold from the first step of the stage on
  bool regrowth = false;   // recompute masks from all weights instead of nesting
  int share_rows = 1;
  RowPairing pairing = RowPairing::kAdjacent;

  bool fake_quantize = false;       // QAT; calibrates first if no scale is known
  std::optional<CalibrationMethod> calibrate;  // run calibration at the start of the stage
  int64_t calibration_batches = 32;
  bool write_int8 = false;          // the model that leaves this stage is stored as int8

  LearningRate learning_rate;
  std::vector<LossTerm> losses;
};

struct Recipe {
  std::string name;
  std::string description;
  uint64_t seed = 1;

  int64_t batch_pairs = 64;
  int64_t accumulate = 1;      // micro-batches for one optimizer step
  int64_t max_length = 128;
  std::string autocast = "auto";  // "auto": bf16 where the CPU has it; "bf16"; "none"
  double dropout = -1;            // -1: the model's own

  HeadKind head = HeadKind::kClassification;
  int64_t num_labels = 0;  // 0: from the training data

  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01, clip_norm = 1.0;

  std::string saliency = "energy";
  std::vector<std::string> keep_dense;  // globs over layer names

  int64_t evaluate_every = 0;      // steps; 0: at the end of a stage
  std::string select_metric = "ndcg@10";
  int64_t patience = 0;            // evaluations without a better dev metric before a stage ends; 0: never

  std::vector<Stage> stages;
  std::string yaml;  // as read, for the checkpoint's fingerprint and twofour.json
};

// Throws Error with file, line and key: unknown keys, wrong types, impossible schedules (sparsity that falls without
// regrowth or above what 2:4 allows, share_rows that shrinks, QAT without a scheme, a distillation loss without weight).
Recipe read_recipe(const std::filesystem::path& path);
Recipe parse_recipe(const std::string& yaml, const std::string& origin);

// True if some stage has a distillation loss.
bool needs_teacher(const Recipe& recipe);

// Shortens every stage in proportion so that the sum of steps is at most `max_steps` (each trained stage keeps >= 1).
// `steps_per_epoch` resolves epochs first.
void limit_steps(Recipe& recipe, int64_t max_steps, int64_t steps_per_epoch);

}  // namespace twofour
