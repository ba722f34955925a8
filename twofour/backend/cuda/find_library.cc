#include "twofour/backend/cuda/find_library.h"

#include <algorithm>
#include <cstdlib>

#include "twofour/base/setting.h"

namespace twofour::cuda {
namespace {

namespace fs = std::filesystem;

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

LibraryPlaces library_places(std::string_view path, const char* variable,
                             std::vector<fs::path> system_folders) {
  LibraryPlaces places;
  places.named = option_or_variable("", path, variable).value;
  if (const char* active = std::getenv("VIRTUAL_ENV"); active && *active)
    places.environments.emplace_back(active);
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    places.environments.push_back((folder / "..").lexically_normal());
    places.environments.push_back((folder / "../../../.venv").lexically_normal());
  }
  places.system_folders = std::move(system_folders);
  return places;
}

std::vector<std::string> library_candidates(const LibraryPlaces& places,
                                            const std::vector<std::string>& files,
                                            const std::vector<std::string>& wheel_folders) {
  if (!places.named.empty()) return {places.named};
  std::vector<std::string> list;
  for (const fs::path& environment : places.environments) {
    for (const fs::path& packages : site_packages(environment)) {
      for (const std::string& folder : wheel_folders) {
        for (const std::string& file : files) add_if_there(list, packages / folder / file);
      }
    }
  }
  list.insert(list.end(), files.begin(), files.end());
  for (const fs::path& folder : places.system_folders) {
    for (const std::string& file : files) add_if_there(list, folder / file);
  }
  return list;
}

}  // namespace twofour::cuda
