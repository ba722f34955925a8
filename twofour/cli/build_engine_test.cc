#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/tensorrt/api.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

// First: a library that was opened once stays open.
TEST(BuildEngine, AbsentLibraryIsNamedWithTheRemedy) {
  setenv("TWOFOUR_TENSORRT_LIBRARY", "/nowhere/libtwofour_tensorrt.so", 1);
  EXPECT_THAT(
      [] { build_engine_api(); },
      ThrowsMessage<Error>(AllOf(HasSubstr("tried /nowhere/libtwofour_tensorrt.so"),
                                 HasSubstr("TENSORRT_ROOT"), HasSubstr("docs/tensorrt.md"))));
  setenv("TWOFOUR_TENSORRT_LIBRARY", (build_folder() / "lib/libtwofour_fake_tensorrt.so").c_str(),
         1);
}

class BuildEngineCommand : public ::testing::Test {
 protected:
  BuildEngineCommand() {
    setenv("TWOFOUR_TENSORRT_LIBRARY", (build_folder() / "lib/libtwofour_fake_tensorrt.so").c_str(),
           1);
    EXPECT_EQ(run_command({"export", model("cross-encoder"), "--out", onnx_}).code, 0);
  }

  Outcome run(const std::vector<std::string>& more = {}) {
    std::vector<std::string> line{"build-engine", onnx_, "--out", plan_};
    line.insert(line.end(), more.begin(), more.end());
    return run_command(line);
  }

  std::filesystem::path folder_ = scratch("engine");
  std::string onnx_ = folder_ / "model.onnx", plan_ = folder_ / "model.plan";
};

TEST_F(BuildEngineCommand, ShowsWhichProductsRunSparse) {
  const Outcome outcome = run();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("for Fake H100 and TensorRT 10.3.0"),
                                 HasSubstr("2 of 3 products run 2:4"), HasSubstr("a warning")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("a/Conv"), HasSubstr("sm80_implicit_gemm"),
                                 HasSubstr("plug-in"), Not(HasSubstr("reformat"))));
  EXPECT_EQ(slurp(plan_), "1,8,32|16,128,512|true|false||1024");
}

TEST_F(BuildEngineCommand, PassesOptionsOnAndReports) {
  const auto report = folder_ / "report.json";
  const Outcome outcome =
      run({"--batch", "4", "--length", "1,32,64", "--no-sparse", "--compare-dense",
           "--timing-cache", "t.cache", "--workspace", "77", "--report", report});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(slurp(plan_), "4,4,4|1,32,64|false|true|t.cache|77");
  EXPECT_THAT(outcome.err, HasSubstr("2.000 ms a batch, 3.000 ms without sparse kernels: 1.50"));
  const auto json = nlohmann::json::parse(slurp(report));
  EXPECT_EQ(json["products"], 3);
  EXPECT_EQ(json["sparse_products"], 2);
  EXPECT_EQ(json["layers"].size(), 4u);
  EXPECT_EQ(json["layers"][2]["kernel"], "dense");
  EXPECT_EQ(json["dense_ms"], 3);
}

TEST_F(BuildEngineCommand, AnEngineThatIsUpToDateIsLeftAlone) {
  spill(plan_, "built before");
  EXPECT_THAT(run().err, HasSubstr("is up to date"));
  EXPECT_EQ(slurp(plan_), "built before");
  EXPECT_EQ(run({"--force"}).code, 0);
  EXPECT_NE(slurp(plan_), "built before");
}

TEST_F(BuildEngineCommand, AFileThatIsNotOursIsRefusedBeforeTensorRtIsAsked) {
  const std::string ours = slurp(onnx_);
  const auto refusal = [&](const std::string& bytes) {
    spill(onnx_, bytes);
    const Outcome outcome = run();
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("Write the file with twofour export --target tensorrt"));
    return outcome.err;
  };
  EXPECT_THAT(refusal("model"), HasSubstr("model.onnx] is no ONNX model, or it is damaged"));
  EXPECT_THAT(refusal(ours.substr(0, ours.size() / 2)), HasSubstr("or it is damaged"));
  EXPECT_THAT(refusal(ours + "\x42\x02\x10\x0b"),  // opset_import { version: 11 }
              HasSubstr("its operator set is 11, expected 17 or later"));
  EXPECT_FALSE(std::filesystem::exists(plan_));
}

TEST_F(BuildEngineCommand, Refusals) {
  const Outcome batch = run({"--batch", "8,1"}), length = run({"--length", "x"});
  EXPECT_EQ(batch.code, 2);
  EXPECT_THAT(batch.err, StartsWith("twofour: --batch: '8,1' is not least, usual, largest"));
  EXPECT_EQ(length.code, 2);
  EXPECT_THAT(length.err,
              StartsWith("twofour: --length: 'x' is no list of integers of 1 or more. Give"));
  EXPECT_EQ(run({"--workspace", "0"}).code, 2);
  spill(onnx_, slurp(onnx_) + "\x12\x07refused");  // as the name of its producer
  EXPECT_THAT(run().err, HasSubstr("[cuda] there is no GPU"));
  std::filesystem::remove(onnx_);
  EXPECT_THAT(run().err, HasSubstr("no such file"));
  EXPECT_FALSE(std::filesystem::exists(plan_));
  spill(onnx_, "model");
  EXPECT_THAT(run_command({"build-engine", onnx_, "--out", onnx_}).err,
              HasSubstr("is the ONNX file itself"));
  EXPECT_THAT(run_command({"build-engine", onnx_, "--out", folder_}).err,
              HasSubstr("it is a folder"));
  EXPECT_THAT(run({"--report", folder_ / "typo/x.json"}).err, HasSubstr("there is no folder "));
  EXPECT_THAT(run({"--timing-cache", onnx_}).err, HasSubstr("is an input of this command too"));
}

}  // namespace
}  // namespace twofour::cli
