#include "twofour/backend/cuda/find_cublaslt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "twofour/backend/cuda/cublaslt.h"
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

TEST(FindCublasLt, Versions) {
  EXPECT_EQ(cublaslt_version_text(130100), "13.1.0");
  EXPECT_EQ(cublaslt_version_text(120803), "12.8.3");
  EXPECT_EQ(rejects_cublaslt_version(120001), std::nullopt);
  EXPECT_EQ(rejects_cublaslt_version(130100), std::nullopt);
  EXPECT_THAT(rejects_cublaslt_version(11811).value(),
              HasSubstr("version 1.18.11, expected one of CUDA 12 or 13"));
  EXPECT_NE(rejects_cublaslt_version(140000), std::nullopt);
}

TEST(FindCublasLt, LooksInWheelsThenAtTheSystem) {
  const fs::path root = fs::path(testing::TempDir()) / "find_blas";
  const fs::path packages = root / "venv/lib/python3.11/site-packages";
  const fs::path cu13 = touch(packages / "nvidia/cu13/lib/libcublasLt.so.13");
  const fs::path cu12 = touch(packages / "nvidia/cublas/lib/libcublasLt.so.12");
  const fs::path system = touch(root / "system/libcublasLt.so.13");
  const LibraryPlaces places{"", {root / "nowhere", root / "venv"}, {root / "system"}};
  EXPECT_THAT(cublaslt_candidates(places),
              ElementsAre(cu13.string(), cu12.string(), "libcublasLt.so.13", "libcublasLt.so.12",
                          system.string()));
}

TEST(FindCublasLt, ANamedFileIsTheOnlyCandidate) {
  setenv("TWOFOUR_CUBLASLT", "/by/variable.so", 1);
  EXPECT_THAT(cublaslt_candidates(cublaslt_places("")), ElementsAre("/by/variable.so"));
  EXPECT_THAT(cublaslt_candidates(cublaslt_places("/by/option.so")), ElementsAre("/by/option.so"));
  unsetenv("TWOFOUR_CUBLASLT");
}

std::string error_of_opening(const std::string& path) {
  return error_of([&] { open_cublaslt(path); });
}

TEST(OpenCublasLt, SaysWhyNot) {
  if (!diagnose().built) {
    EXPECT_THAT(error_of_opening(""), HasSubstr("[cuBLASLt] built without CUDA"));
    return;
  }
  EXPECT_THAT(error_of_opening("/nowhere/lib.so"), HasSubstr("/nowhere/lib.so: "));
  EXPECT_THAT(error_of_opening("libm.so.6"), HasSubstr("does not export cublasLtGetVersion"));
  EXPECT_THAT(error_of_opening(build_folder() / "lib/libtwofour_old_cublaslt.so"),
              HasSubstr("it is version 11.6.1, expected one of CUDA 12 or 13"));
}

// Runs where the library is installed; it needs no driver to tell its version.
TEST(OpenCublasLt, OpensTheRealOne) {
  if (!diagnose().built) GTEST_SKIP() << "built without CUDA";
  std::unique_ptr<CublasLt> library;
  try {
    library = open_cublaslt();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  EXPECT_EQ(rejects_cublaslt_version(library->version()), std::nullopt);
  EXPECT_THAT(library->origin(), HasSubstr("libcublasLt"));
  EXPECT_THAT(library->status_text(BlasStatus::kAllocFailed), HasSubstr("ALLOC_FAILED"));
  BlasLayout layout = nullptr;
  ASSERT_EQ(library->create_layout(layout, {16, 8, 16, DType::kF16, Order::kColumn}),
            BlasStatus::kSuccess);
  EXPECT_EQ(library->destroy_layout(layout), BlasStatus::kSuccess);
  BlasMatmul matmul = nullptr;
  ASSERT_EQ(library->create_matmul(matmul, DType::kF32, DType::kF32), BlasStatus::kSuccess);
  EXPECT_EQ(library->set_epilogue(matmul, ActivationKind::kGeluTanh, &layout),
            BlasStatus::kSuccess);
  EXPECT_EQ(library->destroy_matmul(matmul), BlasStatus::kSuccess);
}

}  // namespace
}  // namespace twofour::cuda
