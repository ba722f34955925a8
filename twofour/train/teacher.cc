#include "twofour/train/teacher.h"

#include <limits>

namespace twofour {

Teacher::Teacher(const Network& network, ParameterMap parameters, int64_t pairs)
    : parameters_(std::move(parameters)), interpreter_(network, parameters_), pairs_(pairs) {}

ForwardResult Teacher::forward(const Batch& batch, const TokenTensors& tokens,
                               const ForwardNeeds& needs, bool bf16) {
  const at::NoGradGuard no_grad;
  // Only in batches of pairs is a row of the output a pair of the data.
  const bool cached = needs.teacher_logits_only && batch.sequences == batch.pairs;
  const at::Tensor pairs = at::tensor(batch.pairs, at::kLong);
  ForwardResult result;
  const at::Device device = tokens.ids.device();
  if (cached && recall(pairs, result.output)) {
    result.output = result.output.to(device);
    return result;
  }
  result = interpreter_.forward(
      tokens,
      {.hidden_states = needs.hidden_states, .last_attention = needs.last_attention, .bf16 = bf16});
  if (cached) result.output = remember(pairs, result.output.cpu()).to(device);
  return result;
}

void Teacher::share_logits(const Batch& batch, int owner, ProcessGroup& group) {
  const at::Tensor pairs = at::tensor(batch.pairs, at::kLong);
  const at::Tensor rows = logits_.index_select(0, pairs);
  group.broadcast(rows, owner);
  logits_.index_copy_(0, pairs, rows);
}

bool Teacher::recall(const at::Tensor& pairs, at::Tensor& logits) const {
  if (!logits_.defined()) return false;
  const at::Tensor rows = logits_.index_select(0, pairs);
  if (rows.isnan().any().item<bool>()) return false;
  logits = rows;
  return true;
}

at::Tensor Teacher::remember(const at::Tensor& pairs, const at::Tensor& logits) {
  if (!logits_.defined()) {
    logits_ = at::full({pairs_, logits.size(1)}, std::numeric_limits<float>::quiet_NaN());
  }
  const at::Tensor stored = logits_.index_select(0, pairs);
  at::Tensor rows = at::where(stored.isnan(), logits.to(at::kFloat), stored);
  logits_.index_copy_(0, pairs, rows);
  return rows;
}

}  // namespace twofour
