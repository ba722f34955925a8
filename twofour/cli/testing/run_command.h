// Runs the command in this process, for tests.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "twofour/cli/app.h"

namespace twofour::cli {

struct Outcome {
  int code;
  std::string out, err;
};

inline Outcome run_command(const std::vector<std::string>& arguments,
                           const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out, err;
  const int code = run(arguments, {in, out, err});
  return {code, out.str(), err.str()};
}

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(TWOFOUR_SOURCE_DIR) / "tests/golden" / name;
}

inline std::string model(const std::string& layout) { return golden(layout + "/model"); }

inline std::string data() { return golden("data/en.tsv"); }

// A fresh folder of the running test's own: tests run beside each other.
inline std::filesystem::path scratch(const std::string& name) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  std::string unique = fmt::format("twofour-{}-{}-{}", test->test_suite_name(), test->name(), name);
  std::replace(unique.begin(), unique.end(), '/', '-');
  auto path = std::filesystem::path(testing::TempDir()) / unique;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

}  // namespace twofour::cli
