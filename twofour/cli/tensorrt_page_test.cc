// The commands of docs/tensorrt.md, in their order: those of twofour run (build-engine and bench
// with a stand-in for their library), and trtexec and Python are given files that these have
// written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "twofour/base/testing.h"
#include "twofour/cli/testing/int8_model.h"
#include "twofour/cli/testing/run_command.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> page() {
  return lines(slurp(fs::path(TWOFOUR_SOURCE_DIR) / "docs/tensorrt.md"));
}

std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

// In a folder with the models that the page starts from.
class TensorRtPage : public ::testing::Test {
 protected:
  TensorRtPage() {
    const fs::path int8 = int8_model("cross-encoder");
    fs::copy(model("cross-encoder"), folder_ / "model", fs::copy_options::recursive);
    fs::copy(int8, folder_ / "model-int8", fs::copy_options::recursive);
    fs::current_path(folder_);
    setenv("TWOFOUR_TENSORRT_LIBRARY", (build_folder() / "lib/libtwofour_fake_tensorrt.so").c_str(),
           1);
  }
  ~TensorRtPage() override { fs::current_path(before_); }

  fs::path before_ = fs::current_path();
  fs::path folder_ = scratch("page");
};

TEST_F(TensorRtPage, CommandsRunUpToTheEngine) {
  int run = 0, trtexec = 0;
  for (const std::string& line : page()) {
    std::vector<std::string> command = words(line);
    if (command.empty()) continue;
    if (command[0] == "trtexec") {
      ++trtexec;
      std::smatch onnx;
      ASSERT_TRUE(std::regex_search(line, onnx, std::regex("--onnx=(\\S+)"))) << line;
      EXPECT_TRUE(fs::exists(onnx[1].str())) << line;
      EXPECT_THAT(line, testing::HasSubstr("--optShapes=input_ids:8x128,"));
    }
    if (command[0] != "twofour") continue;
    ++run;
    command.erase(command.begin());
    const Outcome outcome = run_command(command);
    EXPECT_EQ(outcome.code, 0) << line << '\n' << outcome.err;
  }
  EXPECT_EQ(run, 11);
  EXPECT_EQ(trtexec, 2);
  for (const char* file : {"conv-int8.json", "plugin-int8.json", "conv-int8.plan", "engine.json"})
    EXPECT_TRUE(fs::exists(file)) << file;
}

// What the page says of fields, symbols and variables is in the sources.
TEST_F(TensorRtPage, NamesAreThoseOfTheSources) {
  const std::string text = slurp(fs::path(TWOFOUR_SOURCE_DIR) / "docs/tensorrt.md");
  const fs::path sources = fs::path(TWOFOUR_SOURCE_DIR) / "twofour";
  const std::string node = slurp(sources / "graph/spmm_node.h");
  for (const char* name : {"SpmmPluginDynamic", "max_m", "bucket_step", "weight_scale",
                           "input_scale", "bias_relu", "bias_gelu", "trt.plugins"}) {
    EXPECT_THAT(text, testing::HasSubstr(name));
    EXPECT_THAT(node, testing::HasSubstr("\"" + std::string(name) + "\""));
  }
  for (const auto& [name, file] : std::vector<std::pair<std::string, std::string>>{
           {"twofour_register_spmm_plugin", "tensorrt/plugin/plugin.map"},
           {"TWOFOUR_TENSORRT_LIBS", "tensorrt/builder/nvinfer_libraries.cc"}}) {
    EXPECT_THAT(text, testing::HasSubstr(name));
    EXPECT_THAT(slurp(sources / file), testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace twofour::cli
