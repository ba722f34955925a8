// Ctrl-C in commands that cannot go on later: nothing stays beside what they were to write.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "twofour/base/testing.h"
#include "twofour/cli/testing/int8_model.h"
#include "twofour/cli/testing/run_command.h"

namespace {
std::string_view interrupted_at_rename_to;  // end of a path; empty: never
int signal_sent = SIGINT;
bool renamed_first = false;
bool on_other_thread = false;

// The calling thread does not take the signal before the end.
template <class Body>
void interrupt_another_thread_during(Body body) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_sent);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([&] {
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    std::raise(signal_sent);
  }).join();
  body();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}
}  // namespace

// Stands before the C library's: when a file gets its name, all of it has been written beside.
extern "C" __attribute__((visibility("default"))) int rename(const char* from,
                                                             const char* to) noexcept {
  const bool now =
      !interrupted_at_rename_to.empty() && std::string_view(to).ends_with(interrupted_at_rename_to);
  int result = 0;
  const auto rename_now = [&] {
    result = static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  };
  if (now && on_other_thread) {
    interrupt_another_thread_during(rename_now);
    return result;
  }
  if (now && !renamed_first) std::raise(signal_sent);
  rename_now();
  if (now) std::raise(signal_sent);
  return result;
}

namespace twofour::cli {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr const char* kNothing = "twofour: interrupted, nothing written\n";

class Interrupt : public ::testing::Test {
 protected:
  // A child begins the test again and runs up to the statement that ends it.
  Interrupt() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    signal_sent = SIGINT;
    renamed_first = on_other_thread = false;
    // If run by "ctest &" or nohup.
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_DFL);
    setenv("TWOFOUR_TRAIN_LIBRARY", (build_folder() / "lib/libtwofour_fake_train.so").c_str(), 1);
    setenv("TWOFOUR_TENSORRT_LIBRARY", (build_folder() / "lib/libtwofour_fake_tensorrt.so").c_str(),
           1);
  }

  // Ends with the command's exit code if the signal does not end the process.
  static void run_interrupted(std::string_view rename_to,
                              const std::vector<std::string>& arguments) {
    interrupted_at_rename_to = rename_to;
    std::_Exit(run_command(arguments).code);
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      names.push_back(entry.path().filename());
    return names;
  }

  std::filesystem::path folder_ = scratch("interrupt");
};

TEST_F(Interrupt, PredictLeavesNothing) {
  const auto out = folder_ / "scores.tsv";
  const std::vector<std::string> predict = {
      "predict", model("cross-encoder"), "--threads", "1", "--input", data(), "--output", out};
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    signal_sent = signal;
    EXPECT_EXIT(run_interrupted("/scores.tsv", predict), ExitedWithCode(130), kNothing);
    EXPECT_THAT(names(), UnorderedElementsAre());
  }
}

TEST_F(Interrupt, ASecondOneEndsTrainingWithAWord) {
  const std::vector<std::string> command = {"train", "recipe.yaml", "--model", "m",     "--train",
                                            "t.tsv", "--out",       folder_,   "--set", "kill=1"};
  EXPECT_EXIT(run_command(command), ::testing::KilledBySignal(SIGINT),
              "twofour: ended at once; --resume goes on from the last checkpoint, or from the "
              "start without one\n");
}

// As a shell has it for what runs in the background, and nohup.
TEST_F(Interrupt, IgnoredSignalsStayIgnored) {
  const auto out = folder_ / "scores.tsv";
  const auto run_in_background = [&] {
    std::signal(signal_sent, SIG_IGN);
    run_interrupted("/scores.tsv", {"predict", model("cross-encoder"), "--threads", "1", "--input",
                                    data(), "--output", out});
  };
  for (const int signal : {SIGINT, SIGHUP}) {
    signal_sent = signal;
    EXPECT_EXIT(run_in_background(), ExitedWithCode(0), "");
    EXPECT_THAT(names(), UnorderedElementsAre("scores.tsv"));
    std::filesystem::remove(out);
  }
}

TEST_F(Interrupt, PruneLeavesTheModelThatWasThere) {
  const auto out = folder_ / "model";
  ASSERT_EQ(run_command({"prune", model("cross-encoder"), "--out", out}).code, 0);
  const std::string before = slurp(out / "model.safetensors");
  EXPECT_EXIT(
      run_interrupted("/model.safetensors", {"prune", model("minilm"), "--out", out, "--force"}),
      ExitedWithCode(130), kNothing);
  EXPECT_THAT(names(), UnorderedElementsAre("model"));
  EXPECT_TRUE(slurp(out / "model.safetensors") == before);
}

TEST_F(Interrupt, CalibrateLeavesNothing) {
  EXPECT_EXIT(run_interrupted("/model", {"calibrate", model("cross-encoder"), data(), "--out",
                                         folder_ / "model"}),
              ExitedWithCode(130), kNothing);
  EXPECT_THAT(names(), UnorderedElementsAre());
}

TEST_F(Interrupt, ExportLeavesNothing) {
  EXPECT_EXIT(
      run_interrupted("/model.onnx", {"export", model("minilm"), "--out", folder_ / "model.onnx"}),
      ExitedWithCode(130), kNothing);
  EXPECT_THAT(names(), UnorderedElementsAre());
  const auto int8 = int8_model("cross-encoder");
  EXPECT_EXIT(run_interrupted("/model.safetensors", {"export", int8, "--out", folder_ / "folder",
                                                     "--format", "compressed-tensors"}),
              ExitedWithCode(130), kNothing);
  EXPECT_THAT(names(), UnorderedElementsAre());
}

TEST_F(Interrupt, ExportLeavesTheModelThatWasThere) {
  const auto out = folder_ / "model.onnx", data = folder_ / "model.onnx.data";
  const auto export_of = [&](const std::string& layout) {
    return std::vector<std::string>{"export", model(layout), "--out", out, "--external-data"};
  };
  ASSERT_EQ(run_command(export_of("cross-encoder")).code, 0);
  const std::string before = slurp(out), data_before = slurp(data);
  EXPECT_EXIT(run_interrupted("/model.onnx.data", export_of("minilm")), ExitedWithCode(130),
              kNothing);
  EXPECT_THAT(names(), UnorderedElementsAre("model.onnx", "model.onnx.data"));
  EXPECT_TRUE(slurp(out) == before);
  EXPECT_TRUE(slurp(data) == data_before);
}

TEST_F(Interrupt, BuildEngineLeavesNothing) {
  const auto onnx = folder_ / "model.onnx";
  ASSERT_EQ(run_command({"export", model("cross-encoder"), "--out", onnx}).code, 0);
  EXPECT_EXIT(
      run_interrupted("/model.plan", {"build-engine", onnx, "--out", folder_ / "model.plan"}),
      ExitedWithCode(130), kNothing);
  EXPECT_THAT(names(), UnorderedElementsAre("model.onnx"));
}

TEST_F(Interrupt, WhatHasItsNameAlreadyIsTold) {
  const auto out = folder_ / "model.onnx";
  EXPECT_EXIT(
      run_interrupted("/model.onnx", {"export", model("minilm"), "--out", out, "--external-data"}),
      ExitedWithCode(130),
      HasSubstr("twofour: interrupted, " + out.string() + ".data changed already\n"));
  EXPECT_THAT(names(), UnorderedElementsAre("model.onnx.data"));
}

TEST_F(Interrupt, WithTheLastOutputWrittenTheCommandHasDoneItsWork) {
  renamed_first = true;
  const auto out = folder_ / "model.onnx", report = folder_ / "report.json";
  const std::vector<std::string> command = {"export", model("minilm"), "--out",
                                            out,      "--report",      report};
  EXPECT_EXIT(run_interrupted("/model.onnx", command), ExitedWithCode(130),
              HasSubstr("twofour: interrupted, " + out.string() + " changed already\n"));
  EXPECT_EXIT(run_interrupted("/report.json", command), ExitedWithCode(0), "");
  EXPECT_THAT(names(), UnorderedElementsAre("model.onnx", "report.json"));
  EXPECT_EXIT(run_interrupted("/folder", {"export", int8_model("cross-encoder"), "--out",
                                          folder_ / "folder", "--format", "compressed-tensors"}),
              ExitedWithCode(0), "");
  EXPECT_THAT(names(), UnorderedElementsAre("folder"));
}

// Else what it removes could be on its way to its name.
TEST_F(Interrupt, ASignalOnAnotherThreadWaitsForTheWriter) {
  const auto out = folder_ / "model.onnx";
  on_other_thread = true;
  EXPECT_EXIT(run_interrupted("/model.onnx", {"export", model("minilm"), "--out", out}),
              ExitedWithCode(0), "");
  EXPECT_THAT(names(), UnorderedElementsAre("model.onnx"));
}

}  // namespace
}  // namespace twofour::cli
