// --backend tensorrt with a stand-in for its library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "twofour/base/testing.h"
#include "twofour/cli/testing/run_command.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TensorRtBackend : public ::testing::Test {
 protected:
  TensorRtBackend() {
    setenv("TWOFOUR_TENSORRT_LIBRARY", (build_folder() / "lib/libtwofour_fake_tensorrt.so").c_str(),
           1);
    spill(plan_, "an engine");
  }

  Outcome run(std::vector<std::string> line, const std::vector<std::string>& more = {}) {
    line.insert(line.end(), {"--backend", "tensorrt", "--engine", plan_});
    line.insert(line.end(), more.begin(), more.end());
    return run_command(line);
  }

  std::filesystem::path folder_ = scratch("tensorrt");
  std::string plan_ = folder_ / "model.plan";
  const std::vector<std::string> bench_{
      "bench", model("cross-encoder"), "--tokens", "8", "--repeat", "2", "--batch", "1,9"};
};

TEST_F(TensorRtBackend, Benches) {
  const Outcome text = run(bench_);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("device   cuda:0, TensorRT with " + plan_ + "\n"),
                              HasSubstr("kernels  of the engine\n"), HasSubstr("as built")));
  const Outcome outcome = run(bench_, {"--json", "--device", "cuda:1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["backend"], "tensorrt");
  EXPECT_EQ(json["engine"], plan_);
  EXPECT_EQ(json["device"], "cuda:1");
  EXPECT_EQ(json["memory_bytes"], 4321);
  EXPECT_EQ(json["results"].size(), 2u);
}

TEST_F(TensorRtBackend, RunsAgainstTheLibrarysOwn) {
  const Outcome outcome = run(bench_, {"--against", model("cross-encoder"), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto printed = nlohmann::json::parse(outcome.out);
  for (const auto& row : printed.at("results")) EXPECT_GT(row["against"]["ratio"], 0);
}

TEST_F(TensorRtBackend, TheOtherModelRunsByTheLibrarysOwnWhateverTheVariablesSay) {
  setenv("TWOFOUR_BACKEND", "tensorrt", 1);
  setenv("TWOFOUR_ENGINE", plan_.c_str(), 1);
  std::vector<std::string> line = bench_;
  line.insert(line.end(), {"--against", model("cross-encoder"), "-v"});
  const Outcome outcome = run_command(line);
  unsetenv("TWOFOUR_BACKEND");
  unsetenv("TWOFOUR_ENGINE");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("on cuda:0, TensorRT with " + plan_ + ": "),
                                 HasSubstr("on cpu: products f32, ")));
}

TEST_F(TensorRtBackend, Predicts) {
  const auto input = folder_ / "pairs.tsv";
  spill(input, "query\tdocument\na\tb\nc\td\n");
  const Outcome outcome = run({"predict", model("minilm"), "--input", input});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(lines(outcome.out).size(), 3u);
}

TEST_F(TensorRtBackend, Refusals) {
  EXPECT_THAT(run(bench_, {"--tokens", "33"}).err,
              HasSubstr("sequence 0 has 33 tokens, the TensorRT engine takes 32 at most"));
  EXPECT_THAT(run(bench_, {"--precision", "fp16"}).err, HasSubstr("[precision] fp16 is for"));
  EXPECT_EQ(run(bench_, {"--as-if", "int8"}).code, 2);
  const std::string some = model("minilm");
  EXPECT_EQ(run_command({"bench", some, "--as-if", "int8", "--engine", plan_}).code, 2);
  EXPECT_EQ(run_command({"bench", model("minilm"), "--backend", "another"}).code, 2);
  EXPECT_THAT(run_command({"bench", model("minilm"), "--engine", plan_}).err,
              HasSubstr("is for the backend tensorrt, the backend is twofour"));
  EXPECT_THAT(run_command({"bench", model("minilm"), "--backend", "tensorrt"}).err,
              HasSubstr("needs an engine file"));
  EXPECT_THAT(run(bench_, {"--out", plan_}).err, HasSubstr("is an input of this command too"));
  std::filesystem::remove(plan_);
  const Outcome absent = run(bench_);
  EXPECT_EQ(absent.code, 1);
  EXPECT_THAT(absent.err, HasSubstr("cannot run here"));
}

}  // namespace
}  // namespace twofour::cli
