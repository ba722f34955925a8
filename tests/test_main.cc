// main() of every test program: a temporary folder of its own, so that tests may run side by side,
// removed at the end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  if (std::getenv("TEST_TMPDIR") != nullptr) return RUN_ALL_TESTS();  // a child keeps its parent's
  std::string folder = (std::filesystem::temp_directory_path() / "twofour-test-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return 1;
  setenv("TEST_TMPDIR", (folder + "/").c_str(), 1);
  const int code = RUN_ALL_TESTS();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return code;
}
