// Where cuSPARSELt may lie, and which of its versions this project works with.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace twofour::cuda {

// Of the library's number: 801 is 0.8.1, 1000 is 0.10.0, 1000000 is 1.0.0.
std::string cusparselt_version_text(int version);

// Why a library of this version is not used; nothing where it is: 0.7 up to, not including, 1.0.
std::optional<std::string> rejects_cusparselt_version(int version);

// Whether the project has been built against it: 0.8 and 0.10.
bool is_known_cusparselt_version(int version);

struct CusparseLtPlaces {
  std::string named;                                // a file; alone, where given
  std::vector<std::filesystem::path> environments;  // of Python, each with lib/python3*/
  std::vector<std::filesystem::path> system_folders;
};

// What this process can see: `path` or TWOFOUR_CUSPARSELT; the active virtual environment, the one
// that holds this program and the build tree's; /usr/local/cuda.
CusparseLtPlaces cusparselt_places(std::string_view path);

// In the order in which they are tried: wheels (nvidia-cusparselt-cu13, then -cu12 and what PyTorch
// brings), the name alone for the dynamic linker's own search, the system's folders. Files that are
// not there are left out, unless named.
std::vector<std::string> cusparselt_candidates(const CusparseLtPlaces& places);

}  // namespace twofour::cuda
