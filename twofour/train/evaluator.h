// Metrics of a model in training.
#pragma once

#include "twofour/graph/network.h"
#include "twofour/io/dataset.h"
#include "twofour/io/model_directory.h"
#include "twofour/metrics/ranking.h"
#include "twofour/runtime/engine.h"
#include "twofour/train/batcher.h"
#include "twofour/train/fake_quantize.h"
#include "twofour/train/masking.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

class Evaluator {
 public:
  virtual ~Evaluator() = default;

  // With a quantizer (may be null) as int8.
  virtual Metrics evaluate(const ParameterMap& parameters, FakeQuantizeHook* quantizer) const = 0;
};

// What ranking metrics `data` define for a model with that head; the values are those of scores
// that equal the labels.
Metrics defined_metrics(const Dataset& data, const ModelConfig& config);

// The metric by which a recipe selects. It may be undefined, like pnr on data without pairs of
// different labels: then throws Error naming those that are defined.
double selected_metric(const Metrics& metrics, const std::string& name, const std::string& origin);

// Ranking metrics by the run half, on as many threads as LibTorch has: what a recipe selects is
// what is served. Rounding in LibTorch's order would give slightly other int8 values, and metrics
// that are 0.3 % apart (docs/results.md, "Parity of the two halves"). References must outlive the
// object. `tokens` holds pairs, or texts for an embedding head.
class RankingEvaluator : public Evaluator {
 public:
  RankingEvaluator(const Dataset& data, const TokenStore& tokens, const Network& network,
                   const ModelDirectory& model);

  Metrics evaluate(const ParameterMap& parameters, FakeQuantizeHook* quantizer) const override;

 private:
  std::vector<float> outputs(std::shared_ptr<const Engine> engine) const;
  std::vector<ScoredPair> score(std::span<const float> outputs) const;

  const Dataset& data_;
  const TokenStore& tokens_;
  const Network& network_;
  const ModelDirectory& model_;
  std::vector<std::vector<int32_t>> batches_;  // sequences, sorted by length
};

// masked_accuracy: share of masked tokens whose class is the most probable one; masked_loss: mean
// cross-entropy in nats. The same tokens are masked in each evaluation. References must outlive the
// object.
class MaskedTokenEvaluator : public Evaluator {
 public:
  MaskedTokenEvaluator(const TokenStore& tokens, const Network& network, const TokenMasker& masker);

  Metrics evaluate(const ParameterMap& parameters, FakeQuantizeHook* quantizer) const override;

 private:
  const TokenStore& tokens_;
  const Network& network_;
  const TokenMasker& masker_;
  std::vector<std::vector<int32_t>> batches_;
};

}  // namespace twofour
