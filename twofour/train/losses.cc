#include "twofour/train/losses.h"

#include <limits>

namespace twofour {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

}  // namespace

at::Tensor cross_entropy_loss(const at::Tensor& logits, const at::Tensor& labels) {
  return at::cross_entropy_loss(logits.to(at::kFloat), labels);
}

at::Tensor mse_loss(const at::Tensor& outputs, const at::Tensor& labels) {
  return at::mse_loss(outputs.to(at::kFloat).squeeze(-1), labels.to(at::kFloat));
}

at::Tensor ranknet_loss(const at::Tensor& scores, const at::Tensor& labels,
                        const at::Tensor& query) {
  const at::Tensor s = scores.to(at::kFloat);
  const at::Tensor ordered = labels.unsqueeze(1).gt(labels.unsqueeze(0));
  const at::Tensor same_query = query.unsqueeze(1).eq(query.unsqueeze(0));
  const at::Tensor losses = at::softplus(s.unsqueeze(0) - s.unsqueeze(1));
  const at::Tensor selected = losses.masked_select(ordered.logical_and(same_query));
  return selected.sum() / static_cast<double>(std::max<int64_t>(1, selected.numel()));
}

at::Tensor contrastive_loss(const at::Tensor& queries, const at::Tensor& documents,
                            const at::Tensor& excluded, double temperature) {
  const at::Tensor similarity =
      queries.to(at::kFloat).matmul(documents.to(at::kFloat).t()) / temperature;
  return at::cross_entropy_loss(similarity.masked_fill(excluded, kNegativeInfinity),
                                at::arange(queries.size(0), excluded.options().dtype(at::kLong)));
}

}  // namespace twofour
