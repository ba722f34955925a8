// Runs that stop, are killed, and go on.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "twofour/base/testing_permissions.h"
#include "twofour/train/checkpoint.h"
#include "twofour/train/run_folder.h"
#include "twofour/train/trainer.h"
#include "twofour/train/trainer_test_support.h"

namespace {
std::string_view killed_at_rename_to;  // end of a path; empty: never
std::function<void()> before_flock;    // once
}  // namespace

// Stands before the C library's: no callback tells of what a run writes last.
extern "C" __attribute__((visibility("default"))) int rename(const char* from,
                                                             const char* to) noexcept {
  if (!killed_at_rename_to.empty() && std::string_view(to).ends_with(killed_at_rename_to)) {
    std::raise(SIGKILL);
  }
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

// The same, for what another process does between the making of a log and its lock.
extern "C" __attribute__((visibility("default"))) int flock(int descriptor, int mode) noexcept {
  if (const auto action = std::exchange(before_flock, nullptr)) action();
  return static_cast<int>(syscall(SYS_flock, descriptor, mode));
}

namespace twofour {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

// All stages of sparse-qat, from a bare encoder: dense, two masks, int8, MiniLM. 20 steps, 4 in
// each stage and at least one checkpoint and one evaluation inside of each.
TrainRequest whole_chain(const std::string& name) {
  TrainRequest request = small_run("sparse-qat", "minilm", name);
  request.overrides["stages.*.epochs"] = "0";
  request.overrides["stages.*.steps"] = "4";
  request.overrides["evaluate_every"] = "3";
  request.overrides["dropout"] = "0.1";
  request.max_steps = 0;
  request.checkpoint_every = 3;
  return request;
}

Callbacks kill_after_step(int step) {
  Callbacks callbacks;
  callbacks.progress = [step, done = 0](const Progress&) mutable {
    if (++done == step) std::raise(SIGKILL);
  };
  return callbacks;
}

// "calibrating", "stage": while a stage begins.
Callbacks kill_at_message(const std::string& start) {
  Callbacks callbacks;
  callbacks.log = [start](LogLevel, const std::string& message) {
    if (message.starts_with(start)) std::raise(SIGKILL);
  };
  return callbacks;
}

const std::map<std::string, std::string>& uninterrupted() {
  static const auto contents = contents_of(run_afresh(whole_chain("whole")).model);
  return contents;
}

void expect_resumed_equal(TrainRequest request) {
  request.resume = true;
  const TrainSummary summary = run_training(request, {});
  EXPECT_TRUE(summary.finished);
  EXPECT_EQ(summary.steps, 20);
  EXPECT_TRUE(contents_of(summary.model) == uninterrupted());
  EXPECT_EQ(log_rows(request.out, "step").size(), 20u) << "no step stands twice in the log";
}

class Killed : public testing::Test {
 protected:
  // The child begins the test again and runs up to the statement, then dies in it.
  Killed() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

void expect_same_bytes_after_kill(TrainRequest request, int step) {
  EXPECT_EXIT(run_afresh(request, kill_after_step(step)), testing::KilledBySignal(SIGKILL), "");
  request.resume = true;
  const auto resumed = contents_of(run_training(request, {}).model);
  request.resume = false;
  EXPECT_TRUE(resumed == contents_of(run_afresh(request).model));
}

// Stops before the step in which it is asked for the `polls`-th time.
TrainSummary stop_after(const TrainRequest& request, int polls) {
  Callbacks callbacks;
  callbacks.stop_requested = [polls, done = 0]() mutable { return ++done > polls; };
  return run_afresh(request, callbacks);
}

class KilledAfter : public Killed, public testing::WithParamInterface<int> {};

TEST_P(KilledAfter, AStepItEndsInTheSameBytes) {
  const TrainRequest request = whole_chain("killed." + std::to_string(GetParam()));
  EXPECT_EXIT(run_afresh(request, kill_after_step(GetParam())), testing::KilledBySignal(SIGKILL),
              "");
  expect_resumed_equal(request);
}

// Before the first checkpoint; in, before and after the end of each stage.
INSTANTIATE_TEST_SUITE_P(Resume, KilledAfter, testing::Values(1, 4, 7, 8, 11, 13, 18, 20));

TEST_F(Killed, WhileCalibratingItEndsInTheSameBytes) {
  const TrainRequest request = whole_chain("killed.calibrating");
  EXPECT_EXIT(run_afresh(request, kill_at_message("calibrating")), testing::KilledBySignal(SIGKILL),
              "");
  expect_resumed_equal(request);
}

// Its masks are new, and so are those of the stage after it: what is collected for them would be
// lost if they were computed twice.
TEST(Resume, StoppedWhileCalibratingItEndsInTheSameBytes) {
  TrainRequest request = whole_chain("stopped.calibrating");
  for (const char* stage : {"stages.3.", "stages.4."}) {
    request.overrides[std::string(stage) + "sparsity"] = "0.5";
    request.overrides[std::string(stage) + "regrowth"] = "true";
  }
  bool calibrating = false;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel, const std::string& message) {
    calibrating = calibrating || message.starts_with("calibrating");
  };
  callbacks.stop_requested = [&, batches = 0]() mutable { return calibrating && ++batches == 3; };
  const TrainSummary stopped = run_afresh(request, callbacks);
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.steps, 12);
  const TrainerState state = load_checkpoint(request.out / "checkpoint").state;
  EXPECT_TRUE(state.stage_pruned);
  EXPECT_FALSE(state.stage_started);
  EXPECT_TRUE(state.scales.empty());
  request.resume = true;
  const auto resumed = contents_of(run_training(request, {}).model);
  EXPECT_EQ(log_rows(request.out, "stage").size(), 5u);
  request.resume = false;
  EXPECT_TRUE(resumed == contents_of(run_afresh(request).model));
}

TEST_F(Killed, WithCachedTeacherLogitsItEndsInTheSameBytes) {
  TrainRequest request = whole_chain("killed.logits");
  request.overrides["stages.*.losses"] = "[{kind: cross_entropy}, {kind: logits}]";
  request.overrides["stages.0.losses"] = "[{kind: cross_entropy}]";
  request.overrides["stages.4.steps"] = "16";  // a second epoch, so that the cache is read
  expect_same_bytes_after_kill(request, 29);
}

TEST_F(Killed, WithThreadsAndBf16ItEndsInTheSameBytes) {
  TrainRequest request = whole_chain("killed.bf16");
  request.threads = 2;
  request.overrides["autocast"] = "bf16";
  expect_same_bytes_after_kill(request, 14);
}

// Killed between the mask that regrows and the one before it, whose pruned weights are collected.
TEST_F(Killed, WithRegrowthAndAccumulationItEndsInTheSameBytes) {
  TrainRequest request = whole_chain("killed.regrowth");
  request.overrides["stages.2.regrowth"] = "true";
  request.overrides["accumulate"] = "2";
  expect_same_bytes_after_kill(request, 7);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

nlohmann::json summary_without_times(const fs::path& out) {
  auto summary = nlohmann::json::parse(read_file(out / "summary.json"));
  EXPECT_EQ(summary.erase("seconds") + summary.erase("pairs_per_second"), 2u);
  return summary;
}

TEST_F(Killed, BetweenModelAndSummaryItEndsInTheSameBytes) {
  TrainRequest request = whole_chain("killed.summary");
  const auto run_to_summary = [&] {
    killed_at_rename_to = "/summary.json";
    run_afresh(request);
  };
  EXPECT_EXIT(run_to_summary(), testing::KilledBySignal(SIGKILL), "");
  EXPECT_TRUE(contents_of(request.out / "model") == uninterrupted());
  ASSERT_FALSE(fs::exists(request.out / "summary.json"));

  request.resume = true;
  int steps = 0;
  Callbacks callbacks;
  callbacks.progress = [&](const Progress&) { ++steps; };
  EXPECT_TRUE(run_training(request, callbacks).finished);
  EXPECT_EQ(steps, 0) << "the checkpoint stands until the summary does";
  EXPECT_TRUE(contents_of(request.out / "model") == uninterrupted());
  EXPECT_EQ(summary_without_times(request.out), summary_without_times(whole_chain("whole").out));
  EXPECT_EQ(log_rows(request.out, "result").size(), 1u);
  EXPECT_THAT(names_in(request.out),
              testing::UnorderedElementsAre("log.jsonl", "model", "summary.json"));
}

// No file may grow beyond `bytes` while this lives: what a full disk does.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit{bytes, old_limit_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit old_limit_{};
  void (*old_handler_)(int);
};

// After three steps a checkpoint is saved, and one more when the stage ends with the fourth.
TEST(Resume, DiskThatFillsAtTheSecondCheckpointLeavesTheFirst) {
  TrainRequest request = whole_chain("full-disk");
  std::optional<FullDisk> disk;
  Callbacks callbacks;
  callbacks.progress = [&, done = 0](const Progress&) mutable {
    if (++done == 4) disk.emplace(50'000);
  };
  const std::string message = message_of([&] { run_afresh(request, callbacks); });
  disk.reset();
  EXPECT_EQ(message, "[step 4] the checkpoint cannot be saved: [" +
                         (request.out / "checkpoint").string() +
                         "] cannot be written: File too large. Free space and run it again. "
                         "--resume goes on from the checkpoint before.");
  EXPECT_EQ(load_checkpoint(request.out / "checkpoint").state.step, 3);
  EXPECT_THAT(names_in(request.out), testing::UnorderedElementsAre("checkpoint", "log.jsonl"));
  expect_resumed_equal(request);
}

// As a file system without exchange of folders may leave it.
TEST(Resume, FindsTheCheckpointOfAnInterruptedWrite) {
  TrainRequest request = whole_chain("recovered");
  stop_after(request, 9);
  fs::rename(request.out / "checkpoint", request.out / ".checkpoint.twofour-previous");
  std::string messages;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel, const std::string& message) { messages += message + "\n"; };
  request.resume = true;
  run_training(request, callbacks);
  EXPECT_THAT(messages, HasSubstr("resuming after step"));
  EXPECT_TRUE(contents_of(request.out / "model") == uninterrupted());
}

TEST(Resume, WarnsWhereALogHasLostItsCheckpoint) {
  TrainRequest request = whole_chain("lost");
  stop_after(request, 9);
  fs::remove_all(request.out / "checkpoint");
  std::string warnings;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel level, const std::string& message) {
    if (level == LogLevel::kWarning) warnings += message;
  };
  request.resume = true;
  run_training(request, callbacks);
  EXPECT_THAT(warnings, HasSubstr(request.out.string() +
                                  " holds no checkpoint: the run starts again, with a new log"));
  EXPECT_THAT(warnings, testing::Not(HasSubstr("replaces model/")));
  EXPECT_EQ(log_rows(request.out, "step").size(), 20u);
}

TEST(Resume, GoesOnWithALogThatHasLostRows) {
  TrainRequest request = whole_chain("log-cut");
  const TrainSummary stopped = stop_after(request, 9);
  const fs::path log = request.out / "log.jsonl";
  const std::string rows = read_file(log);
  write_file_atomically(log, rows.substr(0, rows.find('\n') + 5));
  std::string warnings;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel level, const std::string& message) {
    if (level == LogLevel::kWarning) warnings += message;
  };
  request.resume = true;
  EXPECT_TRUE(contents_of(run_training(request, callbacks).model) == uninterrupted());
  EXPECT_THAT(warnings, HasSubstr(log.string() + " has lost rows that the checkpoint knew"));
  const auto steps = log_rows(request.out, "step");  // all of whose lines are whole
  ASSERT_EQ(std::ssize(steps), 20 - stopped.steps);
  EXPECT_EQ(steps.front().at("step"), stopped.steps + 1);
}

TEST(Resume, DamagedCheckpointsSayWhatToDo) {
  TrainRequest request = whole_chain("damaged");
  stop_after(request, 9);
  request.resume = true;
  const fs::path path = request.out / "checkpoint";
  const Checkpoint whole = load_checkpoint(path);
  const auto expect_refused = [&](const Checkpoint& damaged, const std::string& message) {
    save_checkpoint(path, damaged);
    EXPECT_THAT(message_of([&] { run_training(request, {}); }),
                AllOf(testing::StartsWith("[" + path.string() + "] is damaged: " + message),
                      testing::EndsWith("Restore it from a copy, or remove " + path.string() +
                                        " and run the same command with --resume: the run starts "
                                        "again and replaces a model that is there.")));
  };
  const std::pair<std::string, std::string> groups[] = {{"parameters", "parameters: lacks "},
                                                        {"optimizer", "optimizer: exp_avg."},
                                                        {"sparsity", "SparsityContext: mask."},
                                                        {"teacher", "teacher: lacks "}};
  for (const auto& [group, message] : groups) {
    Checkpoint damaged = whole;
    auto& tensors = damaged.tensors[group];
    ASSERT_FALSE(tensors.empty()) << group;
    tensors.erase(tensors.begin());
    expect_refused(damaged, message);
  }
  Checkpoint damaged = whole;
  damaged.tensors["parameters"].begin()->second = at::zeros({1});
  expect_refused(damaged, "parameters: ");
  damaged = whole;
  const std::string mask = damaged.tensors["sparsity"].begin()->first;
  ASSERT_TRUE(mask.starts_with("mask.")) << mask;
  const std::string weight = mask.substr(5);
  at::Tensor& dense = damaged.tensors["parameters"].at(weight);
  dense = at::ones_like(dense);
  expect_refused(damaged, weight + ": the weight at [");
  damaged = whole;
  damaged.tensors["best"] = damaged.tensors["parameters"];
  damaged.tensors["best"].at(weight) = at::ones_like(whole.tensors.at("parameters").at(weight));
  expect_refused(damaged, weight + ": the weight at [");
  damaged = whole;
  damaged.state.stage = 99;
  expect_refused(damaged, "state.json: stage is 99, expected 0 to ");
  damaged = whole;
  damaged.state.scales = {1.0f};
  expect_refused(damaged, "state.json: the number of scales is 1, expected ");
  damaged = whole;
  damaged.tensors["teacher_logits"]["logits"] = at::zeros({1, 3});
  expect_refused(damaged, "teacher_logits: ");
  save_checkpoint(path, whole);
  expect_resumed_equal(request);
}

// It has figures alone, and the checkpoint has gone.
TEST(Resume, ADamagedSummaryDoesNotCostTheModel) {
  TrainRequest request = small_run("int8-ptq", "cross-encoder", "summary-damaged");
  run_afresh(request);
  request.resume = true;
  const fs::path model = request.out / "model";
  const auto before = contents_of(model);
  for (const char* damaged : {"{\"steps\": 20", "[]", ""}) {
    write_file_atomically(request.out / "summary.json", damaged);
    EXPECT_THAT(message_of([&] { run_training(request, {}); }),
                AllOf(HasSubstr("summary.json] is damaged: "),
                      testing::EndsWith(
                          ". Restore it from a copy, or do without it: " + model.string() +
                          " is whole. Without summary.json, --resume trains the run again from its "
                          "start and replaces that model.")));
  }
  EXPECT_TRUE(contents_of(model) == before);
  fs::create_directory(request.out / "checkpoint");
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              HasSubstr("Remove it and run the same command with --resume: the checkpoint writes "
                        "it again."));
  fs::remove(request.out / "checkpoint");
  fs::remove(request.out / "summary.json");
  std::string warnings;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel level, const std::string& message) {
    if (level == LogLevel::kWarning) warnings += message;
  };
  EXPECT_TRUE(run_training(request, callbacks).finished);
  EXPECT_THAT(warnings, HasSubstr("starts again, with a new log, and replaces model/ at its end"));
}

TEST(Resume, StopSavesAndGoesOnToTheSameBytes) {
  TrainRequest request = whole_chain("stopped");
  const TrainSummary stopped = stop_after(request, 9);
  EXPECT_FALSE(stopped.finished);
  EXPECT_LT(stopped.steps, 20);
  EXPECT_FALSE(fs::exists(request.out / "model"));
  EXPECT_TRUE(fs::exists(request.out / "checkpoint"));
  expect_resumed_equal(request);
}

TEST(Resume, SgdGoesOnToTheSameBytes) {
  TrainRequest request = whole_chain("sgd");
  request.overrides["optimizer"] = "sgd";
  const auto whole = contents_of(run_afresh(request).model);
  EXPECT_FALSE(stop_after(request, 9).finished);
  request.resume = true;
  const auto resumed = contents_of(run_training(request, {}).model);
  EXPECT_TRUE(resumed == whole);
  EXPECT_FALSE(resumed == uninterrupted());
}

// A lock belongs to an open file, so that one process serves as two.
TEST(Resume, AFolderHasOneRunAtATime) {
  TrainRequest request = whole_chain("locked");
  std::vector<std::string> messages;
  Callbacks callbacks;
  callbacks.progress = [&, done = 0](const Progress&) mutable {
    if (++done != 5) return;
    for (const bool resume : {false, true}) {
      TrainRequest second = request;
      second.resume = resume;
      messages.push_back(message_of([&] { run_training(second, {}); }));
    }
  };
  EXPECT_TRUE(run_afresh(request, callbacks).finished);
  const std::string expected = "[" + request.out.string() +
                               "] is in use by another twofour train. Wait until that ends, or "
                               "choose another folder.";
  EXPECT_THAT(messages, testing::ElementsAre(expected, expected));
  EXPECT_TRUE(contents_of(request.out / "model") == uninterrupted());
}

// Both start in an empty folder, and both read their inputs first.
TEST(Resume, TheFirstOfTwoRunsThatStartTogetherGetsTheFolder) {
  const fs::path log = fs::path(testing::TempDir()) / "run.together" / "log.jsonl";
  fs::remove_all(log.parent_path());
  {
    RunLock first(log), second(log);
    first.make();
    EXPECT_THAT(message_of([&] { second.make(); }), HasSubstr("is in use by another"));
    EXPECT_THAT(message_of([&] { RunLock third(log); }), HasSubstr("is in use by another"));
  }
  RunLock later(log);
  later.make();
}

TEST(Resume, WhoLocksTheLogFirstHasTheFolder) {
  const fs::path out = fs::path(testing::TempDir()) / "run.overtaken";
  fs::remove_all(out);
  const RunFolder folder(out);
  RunLock maker(folder.log());
  std::optional<RunLock> other;
  std::string message_of_other;
  before_flock = [&] {
    message_of_other = message_of([&] {
      other.emplace(folder.log());
      folder.check(/*resume=*/false);
      other->make();
    });
  };
  EXPECT_THAT(message_of([&] { maker.make(); }), HasSubstr("is in use by another"));
  EXPECT_EQ(message_of_other, "no error");
}

TEST(Resume, AnEmptyLogIsNoRun) {
  const TrainRequest request = small_run("int8-ptq", "cross-encoder", "empty-log");
  fs::remove_all(request.out);
  write_file_atomically(request.out / "log.jsonl", "");
  std::string messages;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel, const std::string& message) { messages += message + "\n"; };
  EXPECT_TRUE(run_training(request, callbacks).finished);
  EXPECT_THAT(messages, testing::Not(HasSubstr("log.jsonl")));
}

TEST(Resume, AFinishedRunWithoutItsModelIsNone) {
  TrainRequest request = whole_chain("model-gone");
  run_afresh(request);
  fs::remove_all(request.out / "model");
  request.resume = true;
  EXPECT_THAT(
      message_of([&] { run_training(request, {}); }),
      HasSubstr("model] is missing, but summary.json says that the run has finished. Put it "
                "back, or remove summary.json and resume to train it again."));
  write_file_atomically(request.out / "summary.json", "{\"steps\": 20");
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              AllOf(HasSubstr("summary.json] is damaged: parse error at column "),
                    HasSubstr("Put it back, or remove it and resume to train again.")));
  fs::remove(request.out / "summary.json");
  EXPECT_TRUE(contents_of(run_training(request, {}).model) == uninterrupted());
}

TEST(Resume, FinishedRunsSayWhatTheyDid) {
  TrainRequest request = whole_chain("finished");
  const TrainSummary first = run_afresh(request);
  const auto before = contents_of(request.out);
  request.resume = true;
  std::string messages;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel, const std::string& message) { messages += message + "\n"; };
  const TrainSummary again = run_training(request, callbacks);
  EXPECT_THAT(messages, HasSubstr(request.out.string() + " is already finished; nothing to do\n"));
  EXPECT_TRUE(again.finished);
  EXPECT_EQ(again.dev, first.dev);
  EXPECT_EQ(again.model, first.model);
  EXPECT_TRUE(contents_of(request.out) == before);
}

// Before it trains, not when it has.
TEST(Resume, RefusesAModelFolderThatItsResultWouldNotReplace) {
  TrainRequest request = whole_chain("model-taken");
  stop_after(request, 3);
  request.resume = true;
  const fs::path model = request.out / "model";
  int steps = 0;
  Callbacks callbacks;
  callbacks.progress = [&](const Progress&) { ++steps; };
  const auto refused = [&] { return message_of([&] { run_training(request, callbacks); }); };
  write_file_atomically(model / "notes.txt", "precious");
  EXPECT_EQ(refused(), "[" + model.string() +
                           "] is a folder that holds something other than a model: notes.txt. "
                           "Choose another folder, or empty it");
  fs::remove_all(model);
  write_file_atomically(model, "precious");
  EXPECT_EQ(refused(), "[" + model.string() + "] is a file, expected a folder or nothing");
  EXPECT_EQ(steps, 0);
  EXPECT_EQ(read_file(model), "precious");
  fs::remove(model);
  expect_resumed_equal(request);
}

TEST(Resume, RefusesAFolderThatCannotBeWritten) {
  TrainRequest request = whole_chain("read-only");
  stop_after(request, 3);
  request.resume = true;
  for (const bool finished : {false, true}) {  // but for its model, which has gone
    if (finished) write_file_atomically(request.out / "summary.json", "{}");
    fs::permissions(request.out, fs::perms::owner_write, fs::perm_options::remove);
    std::string message;
    bound_by_permissions([&] { message = message_of([&] { run_training(request, {}); }); });
    fs::permissions(request.out, fs::perms::owner_write, fs::perm_options::add);
    EXPECT_THAT(message,
                HasSubstr(request.out.string() + "] cannot be written: Permission denied"));
  }
}

// A stopped run that is resumed after `change` must refuse and leave its files alone.
template <class Change>
std::string refusal_after(const std::string& name, const Change& change) {
  TrainRequest request = whole_chain(name);
  stop_after(request, 3);
  const auto before = contents_of(request.out);
  request.resume = true;
  change(request);
  const std::string message = message_of([&] { run_training(request, {}); });
  EXPECT_TRUE(contents_of(request.out) == before);
  return message;
}

TEST(Resume, RefusesAnotherRecipe) {
  EXPECT_THAT(refusal_after("recipe",
                            [](TrainRequest& request) {
                              request.overrides["stages.1.learning_rate.peak"] = "1e-5";
                            }),
              HasSubstr("another recipe: 'learning_rate: {peak: 0.0003, warmup: 0.1, schedule: "
                        "linear}' then, 'learning_rate: {peak: 1e-05"));
  EXPECT_THAT(
      refusal_after("bits", [](TrainRequest& request) { request.overrides["weight_bits"] = "4"; }),
      HasSubstr("'weight_bits: 4' now"));
}

TEST(Resume, RefusesAnotherModel) {
  EXPECT_THAT(
      refusal_after("model", [](TrainRequest& request) { request.model = golden_model("bge"); }),
      HasSubstr("another model"));
}

TEST(Resume, RefusesOtherData) {
  EXPECT_THAT(refusal_after("data",
                            [](TrainRequest& request) {
                              request.train_data = kSource / "tests/golden/data/zh.tsv";
                            }),
              HasSubstr("the run was started with other training data than " +
                        (kSource / "tests/golden/data/zh.tsv").string() + " holds now"));
}

TEST(Resume, KnowsWhatAutocastStoodFor) {
  const TrainRequest request = whole_chain("autocast");
  stop_after(request, 3);
  const auto state = nlohmann::json::parse(read_file(request.out / "checkpoint/state.json"));
  EXPECT_EQ(state.at("fingerprint").at("autocast"), "none");
}

TEST(Resume, RefusesAnotherNumberOfThreads) {
  EXPECT_THAT(refusal_after("threads", [](TrainRequest& request) { request.threads = 2; }),
              HasSubstr("another number of threads (--threads): 1 then, 2 now"));
}

TEST(Resume, RefusesAnotherKernelForEvaluations) {
  const std::string message = refusal_after("kernel", [](TrainRequest&) {
    ASSERT_EQ(setenv("TWOFOUR_FORCE_KERNEL", "matmul_f32_reference", 1), 0);
  });
  ASSERT_EQ(unsetenv("TWOFOUR_FORCE_KERNEL"), 0);
  EXPECT_THAT(message, HasSubstr("another TWOFOUR_FORCE_KERNEL: none then, "
                                 "matmul_f32_reference now"));
}

}  // namespace
}  // namespace twofour
