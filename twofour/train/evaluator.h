// Ranking metrics of a model in training, as the run half would compute them: f32, no dropout.
#pragma once

#include "twofour/graph/network.h"
#include "twofour/io/dataset.h"
#include "twofour/io/model_directory.h"
#include "twofour/metrics/ranking.h"
#include "twofour/train/batcher.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// References must outlive the object. `tokens` holds pairs, or texts for an embedding head, whose
// score is the cosine of query and document.
class Evaluator {
 public:
  Evaluator(const Dataset& data, const TokenStore& tokens, const Network& network,
            const ModelConfig& config);

  // `hook` (may be null) quantizes.
  Metrics evaluate(const ParameterMap& parameters, TensorHook* hook) const;

 private:
  at::Tensor outputs(const ParameterMap& parameters, TensorHook* hook) const;
  std::vector<ScoredPair> score(const at::Tensor& outputs) const;

  const Dataset& data_;
  const TokenStore& tokens_;
  const Network& network_;
  const ModelConfig& config_;
  std::vector<std::vector<int32_t>> batches_;  // sequences, sorted by length
};

}  // namespace twofour
