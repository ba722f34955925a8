#include "twofour/backend/cuda/find_cusparselt.h"

#include <fmt/format.h>

namespace twofour::cuda {

std::string cusparselt_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 1000000, version / 100 % 10000, version % 100);
}

std::optional<std::string> rejects_cusparselt_version(int version) {
  if (version >= 700 && version < 1000000) return std::nullopt;
  return fmt::format("it is version {}, expected 0.7 or later and below 1.0",
                     cusparselt_version_text(version));
}

bool is_known_cusparselt_version(int version) { return version / 100 == 8 || version / 100 == 10; }

LibraryPlaces cusparselt_places(std::string_view path) {
  return library_places(path, "TWOFOUR_CUSPARSELT",
                        {"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu/libcusparseLt/13",
                         "/usr/lib/x86_64-linux-gnu/libcusparseLt/12"});
}

std::vector<std::string> cusparselt_candidates(const LibraryPlaces& places) {
  return library_candidates(places, {"libcusparseLt.so.0"},
                            {"nvidia/cu13/lib", "nvidia/cusparselt/lib", "torch/lib"});
}

}  // namespace twofour::cuda
