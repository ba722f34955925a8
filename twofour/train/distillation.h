// Distillation losses: what a student's outputs, hidden states and attention relations lack of its
// teacher's.
//
// All take padded batches, leave padding out, return a scalar f32 and send gradients to the student
// only. `valid` is [batch, seq] bool. Inputs may be bf16; the arithmetic is f32.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "twofour/train/torch_interpreter.h"

namespace twofour {

// T^2 KL(softmax(teacher / T) || softmax(student / T)), batch mean. Hinton et al. 2015. Throws
// Error for fewer than two labels, where it would be zero whatever the student says.
at::Tensor logits_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature);

// Sum over layers of MSE(student, teacher) / mean(teacher^2) on valid tokens. "SquareHead", Kurtic
// et al. 2023.
at::Tensor hidden_states_loss(const std::vector<at::Tensor>& student,
                              const std::vector<at::Tensor>& teacher, const at::Tensor& valid);

// MiniLM v1: KL between softmax(QK^T / sqrt(d)) of teacher and student, and the same for VV^T; mean
// over heads and valid query tokens; padding keys excluded; the sum of both. Wang et al. 2020,
// arXiv:2002.10957.
at::Tensor minilm_v1_loss(const ForwardResult& student, const ForwardResult& teacher,
                          const at::Tensor& valid, int64_t heads);

// MiniLM v2: relations QQ^T, KK^T, VV^T over `relation_heads`, a third each. Wang et al. 2021,
// arXiv:2012.15828.
at::Tensor minilm_v2_loss(const ForwardResult& student, const ForwardResult& teacher,
                          const at::Tensor& valid, int64_t relation_heads);

}  // namespace twofour
