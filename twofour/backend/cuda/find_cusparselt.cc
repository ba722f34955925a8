#include "twofour/backend/cuda/find_cusparselt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "twofour/base/setting.h"

namespace twofour::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFile = "libcusparseLt.so.0";

std::vector<fs::path> site_packages(const fs::path& environment) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(environment / "lib", ignored)) {
    if (entry.path().filename().string().rfind("python3", 0) == 0)
      found.push_back(entry.path() / "site-packages");
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

void add_if_there(std::vector<std::string>& list, const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  if (std::find(list.begin(), list.end(), path.string()) == list.end()) list.push_back(path);
}

}  // namespace

std::string cusparselt_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 1000000, version / 100 % 10000, version % 100);
}

std::optional<std::string> rejects_cusparselt_version(int version) {
  if (version >= 700 && version < 1000000) return std::nullopt;
  return fmt::format("it is version {}, expected 0.7 or later and below 1.0",
                     cusparselt_version_text(version));
}

bool is_known_cusparselt_version(int version) { return version / 100 == 8 || version / 100 == 10; }

CusparseLtPlaces cusparselt_places(std::string_view path) {
  CusparseLtPlaces places;
  places.named = option_or_variable("cusparselt", path, "TWOFOUR_CUSPARSELT").value;
  if (const char* active = std::getenv("VIRTUAL_ENV"); active && *active)
    places.environments.emplace_back(active);
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    places.environments.push_back((folder / "..").lexically_normal());
    places.environments.push_back((folder / "../../../.venv").lexically_normal());
  }
  places.system_folders = {"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu/libcusparseLt/13",
                           "/usr/lib/x86_64-linux-gnu/libcusparseLt/12"};
  return places;
}

std::vector<std::string> cusparselt_candidates(const CusparseLtPlaces& places) {
  if (!places.named.empty()) return {places.named};
  std::vector<std::string> list;
  for (const fs::path& environment : places.environments) {
    for (const fs::path& packages : site_packages(environment)) {
      for (const char* folder : {"nvidia/cu13/lib", "nvidia/cusparselt/lib", "torch/lib"})
        add_if_there(list, packages / folder / kFile);
    }
  }
  list.emplace_back(kFile);
  for (const fs::path& folder : places.system_folders) add_if_there(list, folder / kFile);
  return list;
}

}  // namespace twofour::cuda
