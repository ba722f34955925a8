#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "twofour/base/error.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/export/api.h"

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
