#include "twofour/train/distillation.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  const int64_t batch = x.size(0), seq = x.size(1), hidden = x.size(2);
  if (heads < 1 || hidden % heads != 0) {
    throw Error("minilm_loss",
                fmt::format("{} relation heads do not divide a hidden size of {}", heads, hidden),
                "Choose relation_heads that divide the hidden sizes of student and teacher");
  }
  return x.to(at::kFloat).view({batch, seq, heads, hidden / heads}).transpose(1, 2);
}

// log softmax(x y^T / sqrt(d)) over valid keys, [batch, heads, seq, seq]; 0 at padded keys, where
// the probability is 0 as well: there KL's terms become 0 instead of infinity minus infinity.
at::Tensor log_relation(const at::Tensor& x, const at::Tensor& y, int64_t heads,
                        const at::Tensor& padded_keys) {
  const at::Tensor a = split_heads(x, heads), b = split_heads(y, heads);
  const double scale = 1 / std::sqrt(static_cast<double>(a.size(-1)));
  const at::Tensor scores = a.matmul(b.transpose(-2, -1)) * scale;
  return scores.masked_fill(padded_keys, kNegativeInfinity)
      .log_softmax(-1)
      .masked_fill(padded_keys, 0);
}

// KL(teacher || student) of relation rows, mean over heads and valid query tokens.
at::Tensor relation_loss(const at::Tensor& student_x, const at::Tensor& student_y,
                         const at::Tensor& teacher_x, const at::Tensor& teacher_y,
                         const at::Tensor& valid, int64_t heads) {
  const at::Tensor padded_keys = valid.logical_not().unsqueeze(1).unsqueeze(1);
  const at::Tensor teacher = log_relation(teacher_x, teacher_y, heads, padded_keys).detach();
  const at::Tensor student = log_relation(student_x, student_y, heads, padded_keys);
  const at::Tensor weights =
      teacher.exp().masked_fill(padded_keys, 0) * valid.unsqueeze(1).unsqueeze(-1).to(at::kFloat);
  const at::Tensor tokens = valid.sum() * heads;
  return (weights * (teacher - student)).sum() / tokens;
}

}  // namespace

at::Tensor logits_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature) {
  if (student.size(-1) < 2) {
    throw Error("logits_loss",
                fmt::format("a head of {} output has no distribution to distil", student.size(-1)),
                "Use the losses mse and hidden_states for regression");
  }
  const at::Tensor target = (teacher.detach().to(at::kFloat) / temperature).log_softmax(-1);
  const at::Tensor actual = (student.to(at::kFloat) / temperature).log_softmax(-1);
  const at::Tensor divergence = (target.exp() * (target - actual)).sum() / student.size(0);
  return divergence * (temperature * temperature);
}

at::Tensor hidden_states_loss(const std::vector<at::Tensor>& student,
                              const std::vector<at::Tensor>& teacher, const at::Tensor& valid) {
  if (student.size() != teacher.size()) {
    throw Error("hidden_states_loss",
                fmt::format("the student has {} hidden states, the teacher {}", student.size(),
                            teacher.size()),
                "Take a teacher with as many layers");
  }
  const at::Tensor tokens = valid.unsqueeze(-1).to(at::kFloat);
  at::Tensor loss = at::zeros({}, tokens.options());
  for (size_t i = 0; i < student.size(); ++i) {
    const at::Tensor target = teacher[i].detach().to(at::kFloat) * tokens;
    const at::Tensor difference = student[i].to(at::kFloat) * tokens - target;
    loss = loss + difference.square().sum() / target.square().sum();
  }
  return loss;
}

at::Tensor minilm_v1_loss(const ForwardResult& student, const ForwardResult& teacher,
                          const at::Tensor& valid, int64_t heads) {
  return relation_loss(student.q, student.k, teacher.q, teacher.k, valid, heads) +
         relation_loss(student.v, student.v, teacher.v, teacher.v, valid, heads);
}

at::Tensor minilm_v2_loss(const ForwardResult& student, const ForwardResult& teacher,
                          const at::Tensor& valid, int64_t relation_heads) {
  at::Tensor sum = at::zeros({}, valid.options().dtype(at::kFloat));
  for (const auto part : {&ForwardResult::q, &ForwardResult::k, &ForwardResult::v}) {
    sum = sum + relation_loss(student.*part, student.*part, teacher.*part, teacher.*part, valid,
                              relation_heads);
  }
  return sum / 3;
}

}  // namespace twofour
