#include "twofour/train/evaluator.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "twofour/base/error.h"
#include "twofour/graph/head.h"
#include "twofour/train/result_model.h"

namespace twofour {
namespace {

constexpr int64_t kTokensPerBatch = 4096;

std::vector<std::vector<int32_t>> batches_by_length(const TokenStore& tokens) {
  std::vector<int32_t> order(static_cast<size_t>(tokens.size()));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t i) { return tokens.length(i); });
  std::vector<std::vector<int32_t>> batches;
  for (const int32_t sequence : order) {
    const int64_t rows = batches.empty() ? 0 : std::ssize(batches.back());
    if (rows == 0 || (rows + 1) * tokens.length(sequence) > kTokensPerBatch) batches.emplace_back();
    batches.back().push_back(sequence);
  }
  return batches;
}

// As twofour eval has them.
MetricOptions metric_options(const Dataset& data) {
  return {.relevant_label = default_relevant_label(data.pairs)};
}

}  // namespace

Metrics defined_metrics(const Dataset& data, const ModelConfig& config) {
  std::vector<ScoredPair> scored;
  const bool classes = config.head == HeadKind::kClassification && config.num_labels > 1;
  for (const Pair& pair : data.pairs) {
    scored.push_back({pair.query, pair.label, pair.label, classes ? 0 : -1});
  }
  const MetricOptions options = metric_options(data);
  return aggregate(query_stats(scored, data.query_ids, options), options);
}

double selected_metric(const Metrics& metrics, const std::string& name, const std::string& origin) {
  const auto found = metrics.find(name);
  if (found != metrics.end()) return found->second;
  std::string known;
  for (const auto& [other, value] : metrics) {
    if (other != "pnr_ties") known += (known.empty() ? "" : ", ") + other;  // a count, no goal
  }
  throw Error(origin,
              fmt::format("leaves {} undefined for this model, and the recipe selects by it", name),
              fmt::format("Set select_metric to one of these: {}.", known));
}

RankingEvaluator::RankingEvaluator(const Dataset& data, const TokenStore& tokens,
                                   const Network& network, const ModelDirectory& model)
    : data_(data),
      tokens_(tokens),
      network_(network),
      model_(model),
      batches_(batches_by_length(tokens)) {}

std::vector<float> RankingEvaluator::outputs(std::shared_ptr<const Engine> engine) const {
  const auto width = static_cast<size_t>(engine->output_width());
  Session session(std::move(engine), {.threads = at::get_num_threads()});
  std::vector<float> outputs(static_cast<size_t>(tokens_.size()) * width), rows;
  for (const std::vector<int32_t>& batch : batches_) {
    const PackedTokens tokens = tokens_.pack(batch);
    rows.resize(batch.size() * width);
    session.run(tokens.batch(), rows);
    for (size_t i = 0; i < batch.size(); ++i) {
      std::copy_n(rows.begin() + i * width, width, outputs.begin() + batch[i] * width);
    }
  }
  return outputs;
}

std::vector<ScoredPair> RankingEvaluator::score(std::span<const float> outputs) const {
  const size_t width = outputs.size() / static_cast<size_t>(tokens_.size());
  const auto row = [&](int64_t i) { return outputs.subspan(i * width, width); };
  const int64_t queries = std::ssize(data_.queries);
  std::vector<ScoredPair> scored;
  for (int64_t i = 0; i < std::ssize(data_.pairs); ++i) {
    const Pair& pair = data_.pairs[i];
    Score score;
    if (model_.config().head == HeadKind::kEmbedding) {
      score.score = score_from_embeddings(row(pair.query), row(queries + pair.document));
    } else {
      score = score_from_output(row(i), model_.config());
    }
    scored.push_back({pair.query, pair.label, score.score, score.predicted});
  }
  return scored;
}

Metrics RankingEvaluator::evaluate(const ParameterMap& parameters,
                                   FakeQuantizeHook* quantizer) const {
  ResultModel result{model_, network_, parameters};
  if (quantizer != nullptr) {
    result.scales = quantizer->activation_scales();
    result.weight_bits = quantizer->weight_bits();
  }
  const MetricOptions options = metric_options(data_);
  return aggregate(query_stats(score(outputs(load_result_model(result))), data_.query_ids, options),
                   options);
}

MaskedTokenEvaluator::MaskedTokenEvaluator(const TokenStore& tokens, const Network& network,
                                           const TokenMasker& masker)
    : tokens_(tokens), network_(network), masker_(masker), batches_(batches_by_length(tokens)) {}

Metrics MaskedTokenEvaluator::evaluate(const ParameterMap& parameters,
                                       FakeQuantizeHook* quantizer) const {
  const at::NoGradGuard no_grad;
  const TorchInterpreter interpreter(network_, parameters);
  const at::Device device = device_of(parameters);
  double right = 0, loss = 0, masked = 0;
  for (const std::vector<int32_t>& batch : batches_) {
    TokenTensors tokens = tokens_.collate(batch);
    const at::Tensor masked_tokens = masker_.mask(fixed_seeds(batch), tokens);
    const at::Tensor targets = masked_tokens.to(device).flatten();
    const at::Tensor places = (targets != kNotMasked).nonzero().squeeze(1);
    const at::Tensor labels = targets.index_select(0, places);
    const at::Tensor logits = interpreter.forward(to_device(tokens, device), {.hook = quantizer})
                                  .output.flatten(0, 1)
                                  .index_select(0, places);
    right += static_cast<double>((logits.argmax(1) == labels).sum().item<int64_t>());
    loss += at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).item<double>();
    masked += static_cast<double>(labels.numel());
  }
  return {{"masked_accuracy", right / masked}, {"masked_loss", loss / masked}};
}

}  // namespace twofour
