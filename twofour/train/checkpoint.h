// Everything that a run needs to go on as if it had never stopped.
//
//   checkpoint/state.json            position, best so far, scales, fingerprint
//   checkpoint/tensors.safetensors   "<group>/<name>"
//
// Groups of tensors: parameters, optimizer, sparsity, best, teacher, teacher_logits.
//
// Random numbers need no state: each micro-batch seeds the generator from (seed, step,
// micro-batch).
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "twofour/metrics/ranking.h"
#include "twofour/train/batcher.h"
#include "twofour/train/fingerprint.h"

namespace twofour {

struct TrainerState {
  int64_t stage = 0;  // equal to the number of stages: trained to the end
  int64_t stage_step = 0;
  int64_t step = 0;  // of the whole run
  bool stage_pruned = false;
  bool stage_started = false;  // pruned and calibrated
  BatchPosition position;      // of the next micro-batch

  std::vector<float> scales;  // by quantization point; empty: not calibrated

  int64_t evaluated_step = -1;
  int64_t stale_evaluations = 0;  // since the best one of the stage
  Metrics best;                   // of the stage; empty: none yet
  int64_t best_step = 0;

  double seconds = 0;           // of all processes that worked on the run
  double training_seconds = 0;  // in steps
  int64_t pairs = 0;
  int64_t log_bytes = 0;  // length of log.jsonl when the checkpoint was written
};

using TensorGroups = std::map<std::string, std::map<std::string, at::Tensor>>;

// Where a run is, for readers of state.json such as twofour report; training itself does not ask.
struct RunProgress {
  std::string stage;  // its name; empty once all are trained
  int64_t stages = 0;
  int64_t steps = 0;  // of the whole run
};

struct Checkpoint {
  TrainerState state;
  TensorGroups tensors;
  Fingerprint fingerprint;
  RunProgress progress;
};

// Replaces the folder `path` as a whole. On failure (a full disk) the one before stays as it was;
// throws Error.
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

// Throws Error naming what is damaged, and what to do.
Checkpoint load_checkpoint(const std::filesystem::path& path);

// What to do about a damaged checkpoint at `path`.
std::string checkpoint_remedy(const std::filesystem::path& path);

}  // namespace twofour
