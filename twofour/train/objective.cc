#include "twofour/train/objective.h"

#include "twofour/train/distillation.h"
#include "twofour/train/losses.h"
#include "twofour/train/masking.h"

namespace twofour {
namespace {

at::Tensor labels_of(const Dataset& data, const Batch& batch) {
  at::Tensor labels = at::empty({std::ssize(batch.pairs)});
  float* out = labels.data_ptr<float>();
  for (const int32_t pair : batch.pairs) *out++ = data.pairs[pair].label;
  return labels;
}

at::Tensor queries_of(const Dataset& data, const Batch& batch) {
  at::Tensor queries = at::empty({std::ssize(batch.pairs)}, at::kLong);
  int64_t* out = queries.data_ptr<int64_t>();
  for (const int32_t pair : batch.pairs) *out++ = data.pairs[pair].query;
  return queries;
}

// As graph/head.h defines a score: the expected label, or the output itself.
at::Tensor scores_of(const at::Tensor& logits) {
  if (logits.size(1) == 1) return logits.squeeze(1);
  return logits.softmax(1).mv(at::arange(logits.size(1), logits.options()));
}

// Outputs of the masked tokens, [masked, labels]; all outputs where none are masked.
class OutputRows {
 public:
  explicit OutputRows(const at::Tensor& targets) {
    if (!targets.defined()) return;
    const at::Tensor flat = targets.flatten();
    places_ = (flat != kNotMasked).nonzero().squeeze(1);
    labels_ = flat.index_select(0, places_);
  }

  at::Tensor of(const at::Tensor& output) const {
    return places_.defined() ? output.flatten(0, 1).index_select(0, places_) : output;
  }
  const at::Tensor& labels() const { return labels_; }

 private:
  at::Tensor places_, labels_;
};

at::Tensor contrastive(const Batch& batch, const at::Tensor& output, double temperature) {
  const at::Tensor unit = output / output.norm(2, -1, true).clamp_min(1e-12);
  const int64_t positives = std::ssize(batch.pairs);
  at::Tensor excluded = at::zeros({positives, output.size(0) - positives}, at::kBool);
  auto cell = excluded.accessor<bool, 2>();
  for (const auto& [query, document] : batch.other_positives) cell[query][document] = true;
  return contrastive_loss(unit.slice(0, 0, positives), unit.slice(0, positives),
                          excluded.to(output.device()), temperature);
}

}  // namespace

ForwardNeeds forward_needs(const std::vector<LossTerm>& terms) {
  ForwardNeeds needs;
  for (const LossTerm& term : terms) {
    needs.teacher |= is_distillation(term.kind);
    needs.hidden_states |= term.kind == LossKind::kHiddenStates;
    needs.last_attention |= term.kind == LossKind::kMiniLmV1 || term.kind == LossKind::kMiniLmV2;
  }
  needs.teacher_logits_only = needs.teacher && !needs.hidden_states && !needs.last_attention;
  return needs;
}

LossValues compute_losses(const std::vector<LossTerm>& terms, const LossInputs& inputs,
                          const ForwardResult& student, const ForwardResult* teacher,
                          int64_t heads) {
  const Dataset& data = inputs.data;
  const Batch& batch = inputs.batch;
  const at::Tensor& valid = inputs.tokens.valid;
  const OutputRows rows(inputs.targets);
  const at::Device device = student.output.device();
  const auto labels = [&] { return labels_of(data, batch).to(device); };
  const auto loss = [&](const LossTerm& term) -> at::Tensor {
    switch (term.kind) {
      case LossKind::kCrossEntropy:
        return twofour::cross_entropy_loss(student.output, labels().to(at::kLong));
      case LossKind::kMse:
        return twofour::mse_loss(student.output, labels());
      case LossKind::kRankNet:
        return ranknet_loss(scores_of(student.output), labels(),
                            queries_of(data, batch).to(device));
      case LossKind::kContrastive:
        return contrastive(batch, student.output, term.temperature);
      case LossKind::kMaskedTokens:
        return twofour::cross_entropy_loss(rows.of(student.output), rows.labels());
      case LossKind::kLogits:
        return logits_loss(rows.of(student.output), rows.of(teacher->output), term.temperature);
      case LossKind::kHiddenStates:
        return hidden_states_loss(student.hidden_states, teacher->hidden_states, valid);
      case LossKind::kMiniLmV1:
        return minilm_v1_loss(student, *teacher, valid, heads);
      case LossKind::kMiniLmV2:
        return minilm_v2_loss(student, *teacher, valid,
                              term.relation_heads > 0 ? term.relation_heads : heads);
    }
    return {};
  };
  LossValues values;
  for (const LossTerm& term : terms) {
    const at::Tensor value = loss(term);
    values.terms.emplace_back(loss_name(term.kind), value.item<double>());
    const at::Tensor weighted = term.weight * value;
    values.total = values.total.defined() ? values.total + weighted : weighted;
  }
  return values;
}

}  // namespace twofour
