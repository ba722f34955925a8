// Task losses. All return a scalar f32. Call them as twofour::...: LibTorch has functions of the
// same names, which the compiler finds through their arguments.
#pragma once

#include <ATen/ATen.h>

namespace twofour {

// logits [batch, labels], labels [batch] int64
at::Tensor cross_entropy_loss(const at::Tensor& logits, const at::Tensor& labels);

// outputs [batch, 1], labels [batch] f32
at::Tensor mse_loss(const at::Tensor& outputs, const at::Tensor& labels);

// scores [batch], labels [batch] f32, query [batch] int64. Mean over pairs (i, j) of one query with
// label_i > label_j of softplus(score_j - score_i); 0 without such pairs. Burges et al. 2005.
at::Tensor ranknet_loss(const at::Tensor& scores, const at::Tensor& labels,
                        const at::Tensor& query);

// Cross-entropy of similarities / temperature. InfoNCE.
//
//   queries            [batch, d]             L2-normalized
//   documents          [batch + hard, d]      L2-normalized; the positive of query i is document i
//   excluded           [batch, batch + hard]  bool: documents that answer the query too
//
// All other documents are negatives.
at::Tensor contrastive_loss(const at::Tensor& queries, const at::Tensor& documents,
                            const at::Tensor& excluded, double temperature);

}  // namespace twofour
