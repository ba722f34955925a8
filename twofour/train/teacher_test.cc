#include "twofour/train/teacher.h"

#include <gtest/gtest.h>

namespace twofour {
namespace {

TokenTensors two_sequences() {
  return {at::tensor({2, 7, 3, 2, 9, 3}, at::kLong).view({2, 3}), at::zeros({2, 3}, at::kLong),
          at::tensor({3, 3}, at::kLong), at::ones({2, 3}, at::kBool)};
}

Batch batch_of(int32_t first, int32_t second) {
  return {.pairs = {first, second}, .sequences = {first, second}, .other_positives = {}};
}

// The teacher changes between the calls, so that computed logits differ from stored ones.
TEST(Teacher, APairKeepsTheLogitsOfItsFirstBatch) {
  const auto model = ModelDirectory::open(TWOFOUR_SOURCE_DIR "/tests/golden/cross-encoder/model");
  const Network network = build_network(model.config());
  Teacher teacher(network, load_parameters(network, model, 1), 4);
  ForwardNeeds needs;
  needs.teacher = needs.teacher_logits_only = true;
  const auto logits = [&](int32_t first, int32_t second) {
    return teacher.forward(batch_of(first, second), two_sequences(), needs, false).output.clone();
  };
  const at::NoGradGuard no_grad;
  const at::Tensor before = logits(0, 1);
  at::Tensor(teacher.parameters().at("classifier.bias")).add_(1);
  const at::Tensor after = logits(1, 2);
  EXPECT_TRUE(at::equal(after[0], before[1]));
  EXPECT_FALSE(at::equal(after[1], before[1]));
  EXPECT_TRUE(at::equal(teacher.logits().slice(0, 0, 2), before));
  EXPECT_TRUE(at::equal(teacher.logits()[2], after[1]));
  EXPECT_TRUE(teacher.logits()[3].isnan().all().item<bool>());
  EXPECT_TRUE(at::equal(logits(0, 2), at::stack({before[0], after[1]})));
}

}  // namespace
}  // namespace twofour
