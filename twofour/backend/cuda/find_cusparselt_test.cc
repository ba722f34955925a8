#include "twofour/backend/cuda/find_cusparselt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/base/testing.h"

namespace twofour::cuda {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

fs::path touch(const fs::path& path) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "no library";
  return path;
}

TEST(FindCusparseLt, Versions) {
  EXPECT_EQ(cusparselt_version_text(801), "0.8.1");
  EXPECT_EQ(cusparselt_version_text(1000), "0.10.0");
  EXPECT_EQ(cusparselt_version_text(1000203), "1.2.3");
  EXPECT_THAT(rejects_cusparselt_version(602).value(),
              HasSubstr("version 0.6.2, expected 0.7 or later"));
  EXPECT_EQ(rejects_cusparselt_version(700), std::nullopt);
  EXPECT_EQ(rejects_cusparselt_version(801), std::nullopt);
  EXPECT_EQ(rejects_cusparselt_version(1000), std::nullopt);
  EXPECT_THAT(rejects_cusparselt_version(1000000).value(), HasSubstr("below 1.0"));
  EXPECT_TRUE(is_known_cusparselt_version(800) && is_known_cusparselt_version(1000));
  EXPECT_FALSE(is_known_cusparselt_version(701) || is_known_cusparselt_version(900));
}

TEST(FindCusparseLt, LooksInWheelsThenAtTheSystem) {
  const fs::path root = fs::path(testing::TempDir()) / "find";
  const fs::path packages = root / "venv/lib/python3.11/site-packages";
  const fs::path cu13 = touch(packages / "nvidia/cu13/lib/libcusparseLt.so.0");
  const fs::path cu12 = touch(packages / "nvidia/cusparselt/lib/libcusparseLt.so.0");
  const fs::path system = touch(root / "system/libcusparseLt.so.0");
  const LibraryPlaces places{
      "", {root / "nowhere", root / "venv", root / "venv"}, {root / "system", root / "nowhere"}};
  EXPECT_THAT(cusparselt_candidates(places),
              ElementsAre(cu13.string(), cu12.string(), "libcusparseLt.so.0", system.string()));
}

TEST(FindCusparseLt, ANamedFileIsTheOnlyCandidate) {
  setenv("TWOFOUR_CUSPARSELT", "/by/variable.so", 1);
  EXPECT_THAT(cusparselt_candidates(cusparselt_places("")), ElementsAre("/by/variable.so"));
  EXPECT_THAT(cusparselt_candidates(cusparselt_places("/by/option.so")),
              ElementsAre("/by/option.so"));
  unsetenv("TWOFOUR_CUSPARSELT");
}

std::string error_of_opening(const std::string& path) {
  return error_of([&] { open_cusparselt(path); });
}

TEST(OpenCusparseLt, SaysWhyNot) {
  if (!diagnose().built) {
    EXPECT_THAT(error_of_opening(""), HasSubstr("[cuSPARSELt] built without CUDA"));
    return;
  }
  EXPECT_THAT(error_of_opening("/nowhere/lib.so"), HasSubstr("/nowhere/lib.so: "));
  EXPECT_THAT(error_of_opening("libm.so.6"), HasSubstr("does not export cusparseLtGetProperty"));
  EXPECT_THAT(error_of_opening(build_folder() / "lib/libtwofour_old_cusparselt.so"),
              HasSubstr("it is version 0.6.2, expected 0.7 or later"));
}

// Runs where the library is installed; it needs no driver to tell its version.
TEST(OpenCusparseLt, OpensTheRealOne) {
  if (!diagnose().built) GTEST_SKIP() << "built without CUDA";
  std::unique_ptr<CusparseLt> library;
  try {
    library = open_cusparselt();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  EXPECT_EQ(rejects_cusparselt_version(library->version()), std::nullopt);
  EXPECT_THAT(library->origin(), HasSubstr("libcusparseLt"));
  EXPECT_THAT(library->status_text(SparseStatus::kAllocFailed), HasSubstr("ALLOC_FAILED"));
}

}  // namespace
}  // namespace twofour::cuda
