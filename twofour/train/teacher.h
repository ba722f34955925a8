// The dense float model that a student imitates.
#pragma once

#include <ATen/ATen.h>

#include "twofour/graph/network.h"
#include "twofour/train/batcher.h"
#include "twofour/train/objective.h"
#include "twofour/train/process_group.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// Forward only, without dropout. Keeps the logits of pairs that it has seen: where a stage wants no
// more than logits, each pair costs one forward pass in the whole run.
class Teacher {
 public:
  // `network` must outlive the object. `pairs` is the number of pairs of the training data.
  Teacher(const Network& network, ParameterMap parameters, int64_t pairs);
  Teacher(const Teacher&) = delete;
  Teacher& operator=(const Teacher&) = delete;

  ForwardResult forward(const Batch& batch, const TokenTensors& tokens, const ForwardNeeds& needs,
                        bool bf16);

  const ParameterMap& parameters() const { return parameters_; }

  // Logits seen so far, [pairs, labels], in host memory; NaN where there are none. Undefined before
  // the first. For checkpoints: a pair must keep its logits, bit for bit, which depend on the batch
  // where it was first seen.
  const at::Tensor& logits() const { return logits_; }
  // Logits of a batch that process `owner` has just seen, kept by all of them from now on. All must
  // have seen some batch.
  void share_logits(const Batch& batch, int owner, ProcessGroup& group);
  void load_logits(const at::Tensor& logits) { logits_ = logits.clone(); }

 private:
  bool recall(const at::Tensor& pairs, at::Tensor& logits) const;
  // Stores the rows that are new; returns all as they are stored.
  at::Tensor remember(const at::Tensor& pairs, const at::Tensor& logits);

  ParameterMap parameters_;
  TorchInterpreter interpreter_;
  int64_t pairs_;
  at::Tensor logits_;
};

}  // namespace twofour
