// Where NVIDIA's libraries may lie: in wheels of Python environments and where the system keeps
// them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace twofour::cuda {

struct LibraryPlaces {
  std::string named;                                // a file; alone, where given
  std::vector<std::filesystem::path> environments;  // of Python, each with lib/python3*/
  std::vector<std::filesystem::path> system_folders;
};

// What this process can see: `path` or the value of `variable`; the active virtual environment, the
// one that holds this program and the build tree's; `system_folders`.
LibraryPlaces library_places(std::string_view path, const char* variable,
                             std::vector<std::filesystem::path> system_folders);

// In the order in which they are tried: the wheels' folders below site-packages, the names alone
// for the dynamic linker's own search, the system's folders. Files that are not there are left out,
// unless named.
std::vector<std::string> library_candidates(const LibraryPlaces& places,
                                            const std::vector<std::string>& files,
                                            const std::vector<std::string>& wheel_folders);

}  // namespace twofour::cuda
