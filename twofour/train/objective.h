// The loss of a stage: its terms, weighed and summed, over one micro-batch.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <utility>
#include <vector>

#include "twofour/io/dataset.h"
#include "twofour/train/batcher.h"
#include "twofour/train/recipe.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// What the terms of a stage want from the forward passes of student and teacher.
struct ForwardNeeds {
  bool teacher = false;
  bool teacher_logits_only = false;
  bool hidden_states = false;
  bool last_attention = false;
};
ForwardNeeds forward_needs(const std::vector<LossTerm>& terms);

struct LossValues {
  at::Tensor total;                                   // sum of weight * term
  std::vector<std::pair<std::string, double>> terms;  // unweighted, by name
};

// What student and teacher have read.
struct LossInputs {
  const Dataset& data;
  const Batch& batch;
  const TokenTensors& tokens;
  at::Tensor targets;  // of masked tokens, see masking.h; undefined where none are masked
};

// `teacher` may be null if no term distils. `heads` are the student's.
LossValues compute_losses(const std::vector<LossTerm>& terms, const LossInputs& inputs,
                          const ForwardResult& student, const ForwardResult* teacher,
                          int64_t heads);

}  // namespace twofour
