#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/export/api.h"
#include "twofour/io/file.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// First: a library that was opened once stays open.
TEST(ExportCommand, AbsentLibraryIsNamedWithTheRemedy) {
  setenv("TWOFOUR_EXPORT_LIBRARY", "/nowhere/libtwofour_export.so", 1);
  EXPECT_THAT([] { export_api(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("tried /nowhere/libtwofour_export.so"),
                                         HasSubstr("TWOFOUR_EXPORT_LIBRARY"))));
  unsetenv("TWOFOUR_EXPORT_LIBRARY");
}

TEST(ExportCommand, WritesAFile) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", model("cross-encoder"), "--out", out});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("linear layers, 0 of them int8, 0 2:4"));
  EXPECT_TRUE(std::filesystem::exists(out));
}

TEST(ExportCommand, ExternalDataAreNamed) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", model("minilm"), "--out", out, "--external-data"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("weights are in " + out.string() + ".data"));
}

TEST(ExportCommand, ReportSaysWhichKernelsCanTakeALayer) {
  const auto folder = scratch("onnx");
  const auto pruned = folder / "pruned";
  ASSERT_EQ(run_command({"prune", model("minilm"), "--out", pruned}).code, 0);
  const Outcome outcome = run_command(
      {"export", pruned, "--out", folder / "model.onnx", "--report", folder / "report.json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("2:4 kernels of TensorRT can take 0 layers"));
  const auto report = nlohmann::json::parse(read_file(folder / "report.json"));
  EXPECT_EQ(report["sparse_layers"], report["layers"].size());
  for (const auto& layer : report["layers"]) {
    EXPECT_EQ(layer["groups_2_4"], layer["groups"]);
    EXPECT_EQ(layer["groups"], layer["n"].get<int64_t>() * layer["k"].get<int64_t>() / 4);
    EXPECT_THAT(layer["eligible"]["tensorrt"], HasSubstr("F32"));
  }
}

TEST(ExportCommand, ReportThatCannotBeWrittenIsRefusedFirst) {
  const auto folder = scratch("onnx");
  const auto out = folder / "model.onnx";
  const Outcome onto_folder =
      run_command({"export", model("minilm"), "--out", out, "--report", folder});
  EXPECT_EQ(onto_folder.code, 1);
  EXPECT_THAT(onto_folder.err, HasSubstr("it is a folder"));
  const Outcome onto_file = run_command({"export", model("minilm"), "--out", out, "--report", out});
  EXPECT_EQ(onto_file.code, 1);
  EXPECT_THAT(onto_file.err, HasSubstr("name of the exported file"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(ExportCommand, UnknownTargetIsRefused) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", model("minilm"), "--out", out, "--target", "tvm"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("Known: onnxruntime, openvino, tensorrt"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(ExportCommand, FolderThatIsNoModelIsRefused) {
  const auto folder = scratch("empty");
  const Outcome outcome = run_command({"export", folder, "--out", folder / "model.onnx"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("config.json"));
}

}  // namespace
}  // namespace twofour::cli
