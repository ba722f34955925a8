// What the tests of the applications share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace twofour {

// An empty folder for the running test; tests/test_main.cc gives each process its own to hold it.
inline std::filesystem::path scratch() {
  const auto folder = std::filesystem::path(testing::TempDir()) /
                      testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

// Of a command line whose first word is a program of this build: its exit status, and a part of
// what it prints.
inline void expect_run(int code, const std::string& part, const std::string& command) {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  FILE* pipe = popen((folder.string() + "/" + command + " 2>&1").c_str(), "r");
  std::string printed;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) printed += static_cast<char>(c);
  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), code) << command << '\n' << printed;
  EXPECT_THAT(printed, testing::HasSubstr(part)) << command;
}

}  // namespace twofour
