// What a training run reads: recipe, model, teacher and data, loaded and checked against each
// other.
#pragma once

#include <memory>
#include <optional>

#include "twofour/graph/network.h"
#include "twofour/io/dataset.h"
#include "twofour/io/model_directory.h"
#include "twofour/train/api.h"
#include "twofour/train/batcher.h"
#include "twofour/train/fingerprint.h"
#include "twofour/train/masking.h"
#include "twofour/train/recipe.h"
#include "twofour/train/training_device.h"

namespace twofour {

struct TeacherInputs {
  ModelDirectory model;
  Network network;
};

struct RunInputs {
  Recipe recipe;         // steps resolved, without the stages that do not run, num_labels known
  ModelDirectory model;  // with the recipe's head
  Network network;
  std::optional<TeacherInputs> teacher;  // absent: no distillation, or a stage of the run teaches

  Dataset train;
  TokenStore train_tokens;
  BatcherOptions batching;
  std::optional<TokenMasker> masker;  // token classification heads
  std::optional<Dataset> dev;
  TokenStore dev_tokens;  // pairs, or texts for embedding heads

  bool bf16 = false;  // the recipe's autocast on the device

  Fingerprint fingerprint;
  Sources sources;
};

// Throws Error for everything that would stop the run later: a head that does not fit the labels,
// cross-entropy on one label, more classes than anybody means, a teacher that does not fit the
// model, a recipe that distils from a head that nobody has trained or selects by a metric that the
// data do not define; and for a max_length that the model does not read. Warns of what it does not
// use, of classes without an example, and of queries that training and evaluation share.
RunInputs load_inputs(const TrainRequest& request, const TrainingDevice& device, int threads,
                      const Callbacks& callbacks);

}  // namespace twofour
