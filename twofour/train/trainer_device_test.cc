// Whole runs as on a GPU: by LibTorch's operators in place of loops on the CPU, and on a GPU where
// there is one. scripts/gpu-check runs the latter by its name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/base/testing.h"
#include "twofour/train/aten_forms.h"
#include "twofour/train/checkpoint.h"
#include "twofour/train/trainer_test_support.h"
#include "twofour/train/training_device.h"

namespace twofour {
namespace {

// Without dropout, whose numbers differ.
TrainRequest run_on(const std::string& device, const std::string& recipe, const std::string& name) {
  TrainRequest request = small_run(recipe, "cross-encoder", "device." + name);
  request.device = device;
  request.overrides["dropout"] = "0";
  return request;
}

class ByOperators : public testing::TestWithParam<std::string> {};

TEST_P(ByOperators, RunsMakeTheSameBytes) {
  const std::string& recipe = GetParam();
  const TrainRequest loops = run_on("cpu", recipe, "loops." + recipe),
                     operators = run_on("cpu", recipe, "operators." + recipe);
  run_afresh(loops);
  const aten_forms::Everywhere guard;
  run_afresh(operators);
  EXPECT_EQ(step_losses(operators.out), step_losses(loops.out));
  EXPECT_TRUE(contents_of(operators.out / "model") == contents_of(loops.out / "model"));
}

INSTANTIATE_TEST_SUITE_P(Trainer, ByOperators, testing::Values("sparse-qat", "progressive-kd"));

TEST(Trainer, ResumesByOperatorsToTheSameBytesWithDropout) {
  const aten_forms::Everywhere guard;
  TrainRequest whole = run_on("cpu", "sparse-qat", "whole"),
               stopped = run_on("cpu", "sparse-qat", "stopped");
  whole.overrides["dropout"] = stopped.overrides["dropout"] = "0.1";
  run_afresh(whole);
  Callbacks callbacks;
  callbacks.stop_requested = [calls = 0]() mutable { return ++calls == 5; };
  EXPECT_FALSE(run_afresh(stopped, callbacks).finished);
  stopped.resume = true;
  EXPECT_TRUE(run_training(stopped, {}).finished);
  EXPECT_TRUE(contents_of(stopped.out / "model") == contents_of(whole.out / "model"));
}

TEST(Trainer, RefusesDevicesThatNobodyKnows) {
  const TrainRequest request = run_on("tpu", "sparse-qat", "refused");
  EXPECT_EQ(message_of([&] { run_afresh(request); }),
            "[--device] no device is named 'tpu'. There are: cpu, cuda, cuda:0, cuda:1, ...");
  EXPECT_FALSE(std::filesystem::exists(request.out));
}

// Stops after the first masks, and goes on. What the checkpoint held between.
Checkpoint run_with_stop(TrainRequest request) {
  Callbacks callbacks;
  callbacks.stop_requested = [calls = 0]() mutable { return ++calls == 2; };
  run_afresh(request, callbacks);
  Checkpoint checkpoint = load_checkpoint(request.out / "checkpoint");
  request.resume = true;
  EXPECT_TRUE(run_training(request, {}).finished);
  return checkpoint;
}

TEST(Trainer, OnCudaHasTheFirstMasksOfTheCpuAndNearlyItsLosses) {
  const std::string missing = error_of([] { open_training_device("cuda", /*several=*/false); });
  if (missing != "no error") GTEST_SKIP() << missing;
  const TrainRequest cpu = run_on("cpu", "sparse-qat", "cpu"),
                     cuda = run_on("cuda", "sparse-qat", "cuda");
  const Checkpoint of_cpu = run_with_stop(cpu), of_cuda = run_with_stop(cuda);
  for (const char* group : {"sparsity", "parameters"}) {
    ASSERT_EQ(of_cuda.tensors.at(group).size(), of_cpu.tensors.at(group).size());
    for (const auto& [name, tensor] : of_cpu.tensors.at(group)) {
      EXPECT_TRUE(at::equal(of_cuda.tensors.at(group).at(name), tensor)) << name;
    }
  }
  EXPECT_TRUE(of_cpu.state.stage_started);
  const std::vector<double> expected = step_losses(cpu.out), found = step_losses(cuda.out);
  ASSERT_EQ(found.size(), expected.size());
  // Sums in another order, and values near a rounding of int8 that go the other way.
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 0.02) << i;
}

TEST(Trainer, OnCudaRepeatsItsBytesWithDropoutInBf16) {
  const std::string missing = error_of([] { open_training_device("cuda", /*several=*/false); });
  if (missing != "no error") GTEST_SKIP() << missing;
  TrainRequest first = run_on("cuda", "sparse-qat", "first"),
               second = run_on("cuda", "sparse-qat", "second");
  for (TrainRequest* request : {&first, &second}) {
    request->overrides["dropout"] = "0.1";
    request->overrides["autocast"] = "bf16";
    run_afresh(*request);
  }
  EXPECT_EQ(step_losses(second.out), step_losses(first.out));
  EXPECT_TRUE(contents_of(second.out / "model") == contents_of(first.out / "model"));
}

}  // namespace
}  // namespace twofour
