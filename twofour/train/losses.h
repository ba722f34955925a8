// Task losses and distillation losses. All take padded batches and are correct under padding; all return a scalar f32.
#pragma once

#include <torch/torch.h>

#include "twofour/train/recipe.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// logits [batch, labels], labels [batch] int64
at::Tensor cross_entropy_loss(const at::Tensor& logits, const at::Tensor& labels);

// outputs [batch, 1], labels [batch] f32
at::Tensor mse_loss(const at::Tensor& outputs, const at::Tensor& labels);

// scores [batch], labels [batch] f32, query [batch] int64. Mean over pairs (i, j) of one query with label_i > label_j of
// softplus(score_j - score_i); 0 without such pairs. Burges et al. 2005.
at::Tensor ranknet_loss(const at::Tensor& scores, const at::Tensor& labels, const at::Tensor& query);

// queries [batch, d], documents [batch + hard, d] L2-normalized; positive of query i is document i; the rest are
// negatives, except documents of the same query. Cross-entropy of similarities / temperature. InfoNCE.
at::Tensor contrastive_loss(const at::Tensor& queries, const at::Tensor& documents, const at::Tensor& query_of_document,
                            const at::Tensor& query, double temperature);

// T^2 KL(softmax(teacher / T) || softmax(student / T)), batch mean. Hinton et al. 2015.
at::Tensor logits_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature);

// Sum over layers of MSE(student, teacher) / mean(teacher^2) on valid tokens. "SquareHead", Kurtic et al. 2023.
at::Tensor hidden_states_loss(const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& teacher,
                              const at::Tensor& valid);

// MiniLM v1: KL between softmax(QK^T / sqrt(d)) of teacher and student, and the same for VV^T; mean over heads and valid
// query tokens; padding keys excluded. Wang et al. 2020, arXiv:2002.10957.
at::Tensor minilm_v1_loss(const ForwardResult& student, const ForwardResult& teacher, const at::Tensor& valid,
                          int64_t heads);

// MiniLM v2: relations QQ^T, KK^T, VV^T over `relation_heads`, a third each. Wang et al. 2021, arXiv:2012.15828.
at::Tensor minilm_v2_loss(const ForwardResult& student, const ForwardResult& teacher, const at::Tensor& valid,
                          int64_t relation_heads);

}  // namespace twofour
