#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <regex>

#include "twofour/base/testing.h"
#include "twofour/cli/testing/int8_model.h"
#include "twofour/cli/testing/run_command.h"

namespace twofour::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class TrainCommand : public ::testing::Test {
 protected:
  TrainCommand() {
    setenv("TWOFOUR_TRAIN_LIBRARY", (build_folder() / "lib/libtwofour_fake_train.so").c_str(), 1);
  }

  std::vector<std::string> command(std::vector<std::string> more = {}) {
    std::vector<std::string> all{"train",   "recipe.yaml", "--model", "m",
                                 "--train", "t.tsv",       "--out",   out_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::string out_ = scratch("train");
};

TEST_F(TrainCommand, PassesEverythingOn) {
  const Outcome outcome = run_command(command(
      {"--eval", "d.tsv", "--teacher", "big", "--max-steps", "7", "--threads", "2", "--device",
       "cuda:1", "--set", "seed=3", "--set", "stages.0.steps=5", "--no-deterministic"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(slurp(out_ + "/request.txt"),
            "recipe.yaml|m|t.tsv|d.tsv|big|0|7|2|cuda:1|0|seed=3|stages.0.steps=5");
  EXPECT_THAT(outcome.out, HasSubstr("50.0 %"));
  EXPECT_THAT(outcome.out, HasSubstr("0.7500 on dev"));
  EXPECT_THAT(outcome.err, HasSubstr("10/10 steps"));
}

TEST_F(TrainCommand, JsonSummaryParses) {
  const Outcome outcome = run_command(command({"--json", "-q"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["steps"], 10);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(TrainCommand, InterruptSavesAndSaysHowToResume) {
  const Outcome outcome = run_command(command({"--device", "cuda", "--set", "interrupt=a b"}));
  EXPECT_EQ(outcome.code, 130);
  EXPECT_THAT(outcome.err, HasSubstr("stopped after step 4"));
  EXPECT_THAT(outcome.err, HasSubstr("twofour train recipe.yaml --model m --train t.tsv --out " +
                                     out_ + " --device cuda --set 'interrupt=a b' --resume\n"));
}

// The variables of one process are not those of the others.
TEST_F(TrainCommand, InterruptOfSeveralProcessesSaysToStartThemAll) {
  const Outcome outcome = run_command(command({"--set", "interrupt=1", "--set", "processes=2"}));
  EXPECT_EQ(outcome.code, 130);
  EXPECT_THAT(outcome.err,
              HasSubstr("stopped after step 4; everything is saved. To go on, start all 2 "
                        "processes again as before (torchrun, or RANK, WORLD_SIZE=2, MASTER_ADDR "
                        "and MASTER_PORT for each), now with:\n"));
  EXPECT_THAT(outcome.err, HasSubstr(" --set interrupt=1 --set processes=2 --resume\n"));
}

TEST_F(TrainCommand, InterruptWhileOthersAreMissingSaysThatNothingHasBegun) {
  for (const char* rank : {"rank=1", "seed=1"}) {
    const Outcome outcome = run_command(command({"--set", "alone=1", "--set", rank}));
    EXPECT_EQ(outcome.code, 130);
    EXPECT_THAT(outcome.err, EndsWith(" stopped while waiting for the other processes: nothing "
                                      "has begun\n"));
    EXPECT_THAT(outcome.err, ::testing::Not(HasSubstr("--resume")));
  }
}

TEST_F(TrainCommand, DevicesThatNobodyKnowsAreWrongUsage) {
  const Outcome outcome = run_command(command({"--device", "tpu"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err,
              StartsWith("twofour: --device: no device is named 'tpu'. There are: cpu, cuda, "
                         "cuda:0, cuda:1, ..."));
}

TEST_F(TrainCommand, OnlyRankZeroTellsOfTheResult) {
  const Outcome outcome = run_command(command({"--set", "rank=1", "--json"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  const Outcome stopped = run_command(command({"--set", "rank=1", "--set", "interrupt=1"}));
  EXPECT_EQ(stopped.code, 130);
  EXPECT_THAT(stopped.err, ::testing::Not(HasSubstr("stopped after step")));
}

// Which sends its signal twice.
TEST_F(TrainCommand, ALostTerminalSavesUnlessItIsIgnored) {
  const auto previous = std::signal(SIGHUP, SIG_DFL);
  const Outcome outcome = run_command(command({"--set", "hangup=1"}));
  EXPECT_EQ(outcome.code, 130);
  EXPECT_THAT(outcome.err, HasSubstr("stopped after step 4"));
  std::signal(SIGHUP, SIG_IGN);  // nohup
  EXPECT_EQ(run_command(command({"--set", "hangup=1"})).code, 0);
  std::signal(SIGHUP, previous);
}

TEST_F(TrainCommand, FailureOfTheLibraryIsToldWithExitCodeOne) {
  const Outcome outcome =
      run_command({"train", "bad.yaml", "--model", "m", "--train", "t", "--out", out_});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "twofour: [bad.yaml:3] unknown key 'stepz'. Remove it\n");
}

TEST_F(TrainCommand, RefusesWrongUsage) {
  EXPECT_EQ(run_command({"train", "recipe.yaml"}).code, 2);
  const Outcome outcome = run_command(command({"--set", "seed"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("expected KEY=VALUE, found seed"));
  EXPECT_THAT(run_command(command({"--max-steps", "0"})).err,
              HasSubstr("--max-steps: expected a number above 0, found 0\n"));
}

TEST_F(TrainCommand, HelpSaysWhatShortensARunAndWhatItLeaves) {
  const Outcome outcome = run_command({"train", "--help"});
  const std::string text = std::regex_replace(outcome.out, std::regex("\\s+"), " ");
  EXPECT_THAT(text, HasSubstr("--max-steps leaves each stage at least one step"));
  EXPECT_THAT(text, HasSubstr("Float model directory, dense or 2:4"));
  for (const char* name : {"checkpoint/", "log.jsonl", "model/", "summary.json"})
    EXPECT_THAT(outcome.out, HasSubstr("\n  " + std::string(name) + " ")) << name;
}

TEST_F(TrainCommand, CalibratePassesTheMethodOn) {
  const std::string out = out_ + "/model";
  const Outcome outcome = run_command(
      {"calibrate", "m", "t.tsv", "--out", out, "--method", "percentile:99.9", "--batches", "3"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(slurp(out), "percentile:99.9|3");
}

// The library leaves the model that is there already.
TEST_F(TrainCommand, CalibrateTellsItsScalesAsJson) {
  const std::string out = int8_model("cross-encoder");
  const Outcome outcome = run_command(
      {"calibrate", "m", "t.tsv", "--out", out, "--force", "--method", "mse", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report["out"], out);
  EXPECT_EQ(report["method"], "mse");
  const auto points = build_network(ModelDirectory::open(out).config()).quant_points;
  ASSERT_EQ(report["scales"].size(), points.size());
  for (const QuantPoint& point : points)
    EXPECT_EQ(report["scales"][point.name], 0.01f) << point.name;
}

TEST_F(TrainCommand, CalibrateRefusesAnUnknownMethod) {
  const Outcome outcome =
      run_command({"calibrate", "m", "t.tsv", "--out", out_ + "/x", "--method", "median"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err,
              StartsWith("twofour: --method: expected max, percentile, percentile:P with P in "
                         "(0, 100], entropy or mse, found \"median\"\n"));
  EXPECT_FALSE(std::filesystem::exists(out_ + "/x"));
}

TEST_F(TrainCommand, CalibrateRefusesPlacesBeforeItWorks) {
  const auto source = std::filesystem::path(out_) / "source", full = source.parent_path() / "full";
  const auto other = source.parent_path() / "other";
  for (const auto& path : {source, other})
    std::filesystem::copy(model("cross-encoder"), path, std::filesystem::copy_options::recursive);
  std::filesystem::create_directory(full);
  spill(full / "notes.txt", "precious");
  const auto calibrate = [&](const std::string& out, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"calibrate", source, "t.tsv", "--out", out});
    return run_command(more);
  };
  EXPECT_THAT(calibrate(source).err, HasSubstr("is the model itself"));
  EXPECT_THAT(calibrate(full).err, HasSubstr("something other than a model: notes.txt"));
  EXPECT_THAT(calibrate(other).err, HasSubstr("other] holds a model already"));
  EXPECT_THAT(calibrate(full / "notes.txt" / "model").err,
              HasSubstr("notes.txt] is not a folder. Choose another place"));
  EXPECT_EQ(calibrate("").code, 2);
  EXPECT_EQ(slurp(full / "notes.txt"), "precious");
  EXPECT_TRUE(slurp(source / "config.json") == slurp(model("cross-encoder") + "/config.json"));

  const std::string fresh = out_ + "/fresh";
  for (const char* length : {"4", "100000"}) {
    EXPECT_THAT(calibrate(fresh, {"--max-length", length}).err,
                HasSubstr(std::string("[max_length] is ") + length + ", expected 5 to "));
  }
  const Outcome seed = calibrate(fresh, {"--seed", "-1"});
  EXPECT_EQ(seed.code, 2);
  EXPECT_THAT(seed.err, HasSubstr("--seed: expected a whole number from 0, found -1"));
  EXPECT_FALSE(std::filesystem::exists(fresh));
  EXPECT_EQ(calibrate(fresh, {"--max-length", "5", "--seed", "0"}).code, 0);
}

TEST_F(TrainCommand, DoctorNamesLibTorch) {
  const std::string doctor = run_command({"doctor"}).out;
  EXPECT_THAT(doctor, HasSubstr("LibTorch 2.11.0-fake"));
  EXPECT_THAT(doctor, HasSubstr("\n            on GPUs: cuda:0 Fake H100 (9.0)\n"));
}

}  // namespace
}  // namespace twofour::cli
