#include "twofour/backend/cuda/find_cublaslt.h"

#include <fmt/format.h>

namespace twofour::cuda {

std::string cublaslt_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::optional<std::string> rejects_cublaslt_version(int version) {
  if (version >= 120000 && version < 140000) return std::nullopt;
  return fmt::format("it is version {}, expected one of CUDA 12 or 13",
                     cublaslt_version_text(version));
}

LibraryPlaces cublaslt_places(std::string_view path) {
  return library_places(path, "TWOFOUR_CUBLASLT",
                        {"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu"});
}

std::vector<std::string> cublaslt_candidates(const LibraryPlaces& places) {
  return library_candidates(places, {"libcublasLt.so.13", "libcublasLt.so.12"},
                            {"nvidia/cu13/lib", "nvidia/cublas/lib"});
}

}  // namespace twofour::cuda
