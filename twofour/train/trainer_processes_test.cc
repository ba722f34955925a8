// Runs of several processes, beside runs of one with the same micro-batches.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/train/checkpoint.h"
#include "twofour/train/process_test_support.h"
#include "twofour/train/run_inputs.h"
#include "twofour/train/torch_session.h"
#include "twofour/train/trainer.h"
#include "twofour/train/trainer_test_support.h"

namespace twofour {
namespace {

using testing::Each;
using testing::StartsWith;
namespace fs = std::filesystem;

TrainRequest accumulated(const std::string& recipe, const std::string& name, int accumulate) {
  TrainRequest request = small_run(recipe, "cross-encoder", name);
  request.overrides["accumulate"] = std::to_string(accumulate);
  return request;
}

// Learns from cached logits, with dropout, for several epochs of eleven batches: the last is
// smaller, and there are steps that cross epochs.
TrainRequest from_logits(const std::string& name) {
  TrainRequest request = accumulated("control", name, 2);
  request.overrides["stages.*.losses"] = "[{kind: cross_entropy}, {kind: logits}]";
  request.overrides["dropout"] = "0.1";
  request.overrides["batch_pairs"] = "18";
  return request;
}

// The sum of two gradients has the same bits in any order.
void expect_two_train_as_one(const TrainRequest& two, const TrainRequest& one) {
  if (become_rank()) {
    const TrainSummary summary = run_training(two, {});
    EXPECT_TRUE(summary.finished);
    EXPECT_EQ(std::to_string(summary.rank), std::getenv("RANK"));
    EXPECT_EQ(summary.processes, 2);
    return;
  }
  ASSERT_THAT(run_ranks(2), Each(0));
  run_afresh(one);
  EXPECT_EQ(step_losses(two.out), step_losses(one.out));
  EXPECT_TRUE(contents_of(two.out / "model") == contents_of(one.out / "model"));
  EXPECT_FALSE(fs::exists(two.out / "checkpoint"));
}

TEST(Processes, TwoTrainSparseInt8AsOneDoes) {
  expect_two_train_as_one(accumulated("sparse-qat", "two", 2), accumulated("sparse-qat", "one", 2));
}

TEST(Processes, TwoLearnFromLogitsAsOneDoes) {
  expect_two_train_as_one(from_logits("two-logits"), from_logits("one-logits"));
}

TrainRequest masked_tokens(const std::string& name) {
  TrainRequest request = small_run(write_recipe("masked-tokens", R"(
name: masked-tokens
head: token_classification
masking: {segment: second, share: cosine}
accumulate: 2
stages:
  - name: dense
    teach: true
    steps: 4
    learning_rate: {peak: 1e-3}
    losses: [{kind: masked_tokens}]
  - name: sparse
    steps: 4
    sparsity: 0.5
    learning_rate: {peak: 1e-3}
    losses: [{kind: masked_tokens}, {kind: logits}]
)"),
                                   "bert-uncased", name);
  request.overrides["dropout"] = "0.1";
  return request;
}

// Of each micro-batch of the first epoch.
std::vector<int64_t> padded_lengths(const TrainRequest& request) {
  const TorchSession session(request.threads, request.deterministic);
  const RunInputs inputs = load_inputs(request, {}, request.threads, {});
  std::vector<int64_t> lengths;
  for (const Batch& batch : Batcher(inputs.train, inputs.train_tokens, inputs.batching).plan(0)) {
    lengths.push_back(inputs.train_tokens.collate(batch.sequences).ids.size(1));
  }
  return lengths;
}

TEST(Processes, TwoWithMaskedTokensOfUnequalLengthsTrainAsOne) {
  const TrainRequest one = masked_tokens("one-masked");
  expect_two_train_as_one(masked_tokens("two-masked"), one);
  if (become_rank()) return;
  const std::vector<int64_t> lengths = padded_lengths(one);
  ASSERT_GE(lengths.size(), 4u);
  EXPECT_NE(lengths[0], lengths[1]);
  EXPECT_NE(lengths[2], lengths[3]);
}

// Four summands: their order changes the last bits.
TEST(Processes, TwoWithTwoMicroBatchesEachAreNearToOne) {
  const TrainRequest request = accumulated("progressive-kd", "two-of-four", 4);
  if (become_rank()) {
    run_training(request, {});
    return;
  }
  ASSERT_THAT(run_ranks(2), Each(0));
  const TrainRequest alone = accumulated("progressive-kd", "one-of-four", 4);
  run_afresh(alone);
  const std::vector<double> expected = step_losses(alone.out), found = step_losses(request.out);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-4) << i;
}

// Four stages of four steps.
TrainRequest four_stages(const std::string& name) {
  TrainRequest request = accumulated("sparse-qat", name, 2);
  request.overrides["stages.*.epochs"] = "0";
  request.overrides["stages.*.steps"] = "4";
  request.max_steps = 0;
  request.checkpoint_every = 2;
  return request;
}

// In the log of rank 0. A process that has summed the gradients of a step sees those before it; at
// the start of a stage the last one may be missing yet.
int steps_in_log(const TrainRequest& request) {
  if (!fs::exists(request.out / "log.jsonl")) return 0;
  std::istringstream lines(read_file(request.out / "log.jsonl"));
  int steps = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (row.is_object() && row.value("kind", "") == "step") ++steps;
  }
  return steps;
}

// Rank 1 alone is asked to stop in its seventh step; resumed, it ends in the tenth one.
TEST(Processes, StopTogetherAndResumeToTheSameBytes) {
  TrainRequest request = four_stages("stopped");
  request.resume = true;
  if (become_rank()) {
    request.resume = part() != "stop";
    const bool second = std::getenv("RANK") == std::string("1");
    Callbacks callbacks;
    callbacks.stop_requested = [&] {
      if (!second) return false;
      const int steps = steps_in_log(request);
      if (part() == "end" && steps == 9) raise(SIGKILL);
      return part() == "stop" && steps == 6;
    };
    if (part() == "end") {
      EXPECT_THAT(message_of([&] { run_training(request, callbacks); }),
                  StartsWith("[rank 0 of 2] has lost another process: "));
      return;
    }
    const TrainSummary summary = run_training(request, callbacks);
    EXPECT_EQ(summary.finished, part() == "resume");
    EXPECT_EQ(summary.steps, part() == "stop" ? 7 : 16);
    return;
  }
  ASSERT_THAT(run_ranks(2, "stop"), Each(0));
  EXPECT_EQ(message_of([&] { run_training(request, {}); }),
            fmt::format("[{}] the run was started with another WORLD_SIZE: 2 then, none now. "
                        "Resume with the WORLD_SIZE of the start, or choose another run folder.",
                        (request.out / "checkpoint").string()));
  ASSERT_EQ(run_ranks(2, "end")[0], 0);
  ASSERT_THAT(run_ranks(2, "resume"), Each(0));
  const TrainRequest alone = four_stages("not-stopped");
  EXPECT_TRUE(contents_of(request.out / "model") == contents_of(run_afresh(alone).model));
  EXPECT_EQ(step_losses(request.out), step_losses(alone.out));
}

// Rank 1 alone is asked to stop, at the second or third batch: rank 0 makes the log before the
// first of them.
TEST(Processes, StopTogetherWhileRankZeroCalibrates) {
  TrainRequest request = accumulated("int8-ptq", "calibrating", 2);
  if (become_rank()) {
    request.resume = part() == "resume";
    const bool stops = part() == "stop" && std::getenv("RANK") == std::string("1");
    Callbacks callbacks;
    callbacks.stop_requested = [&, looks = 0]() mutable {
      return stops && fs::exists(request.out / "log.jsonl") && ++looks == 3;
    };
    EXPECT_EQ(run_training(request, callbacks).finished, !(part() == "stop"));
    return;
  }
  ASSERT_THAT(run_ranks(2, "stop"), Each(0));
  EXPECT_FALSE(load_checkpoint(request.out / "checkpoint").state.stage_started);
  ASSERT_THAT(run_ranks(2, "resume"), Each(0));
  const TrainRequest alone = accumulated("int8-ptq", "calibrated", 2);
  EXPECT_TRUE(contents_of(request.out / "model") == contents_of(run_afresh(alone).model));
}

// Rank 0 never comes.
TEST(Processes, StopWhileTheyWaitForOthersWithNothingBegun) {
  const TrainRequest request = accumulated("sparse-qat", "waiting", 2);
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(2), Each(0));
    EXPECT_FALSE(fs::exists(request.out));
    return;
  }
  if (std::getenv("RANK") == std::string("0")) return;
  Callbacks callbacks;
  bool told = false;
  callbacks.log = [&](LogLevel, const std::string& message) {
    EXPECT_THAT(message, StartsWith("rank 1 of 2: waiting for rank 0 at 127.0.0.1:"));
    told = true;
  };
  callbacks.stop_requested = [&] { return told; };
  const TrainSummary summary = run_training(request, callbacks);
  EXPECT_FALSE(summary.begun);
  EXPECT_FALSE(summary.finished);
  EXPECT_EQ(summary.rank, 1);
  EXPECT_EQ(summary.processes, 2);
}

TEST(Processes, RefuseWhatTheyCannotShare) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(2, "16 pairs"), Each(0));
    EXPECT_THAT(run_ranks(2, "15 pairs"), Each(0));
    return;
  }
  TrainRequest request = accumulated("sparse-qat", "refused", 1);
  const bool even = part() == "16 pairs";
  if (!even) request.overrides["batch_pairs"] = "15";
  EXPECT_EQ(message_of([&] { run_training(request, {}); }),
            std::string("[recipe 'sparse-qat'] accumulate is 1: 2 processes cannot share the "
                        "micro-batches of a step evenly. With --set accumulate=2 --set "
                        "batch_pairs=8 they can, and steps ") +
                (even ? "keep their size." : "have 16 pairs instead of 15."));
  EXPECT_FALSE(fs::exists(request.out));
}

TEST(Processes, RefuseToReadDifferentThings) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(2), Each(0));
    return;
  }
  const std::string rank = std::getenv("RANK");
  TrainRequest request = accumulated("sparse-qat", "different", 2);
  request.overrides["seed"] = rank;
  EXPECT_EQ(message_of([&] { run_training(request, {}); }),
            "[rank " + rank +
                " of 2] rank 1 and rank 0 differ in recipe, model, data, --threads or kind of CPU "
                "or GPU. Start all of them with the same command on machines of one kind.");
  EXPECT_FALSE(fs::exists(request.out));
}

}  // namespace
}  // namespace twofour
