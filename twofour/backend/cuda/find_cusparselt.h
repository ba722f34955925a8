// Where cuSPARSELt may lie, and which of its versions this project works with.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/find_library.h"

namespace twofour::cuda {

// Of the library's number: 801 is 0.8.1, 1000 is 0.10.0, 1000000 is 1.0.0.
std::string cusparselt_version_text(int version);

// Why a library of this version is not used; nothing where it is: 0.7 up to, not including, 1.0.
std::optional<std::string> rejects_cusparselt_version(int version);

// Whether the project has been built against it: 0.8 and 0.10.
bool is_known_cusparselt_version(int version);

// `path` or TWOFOUR_CUSPARSELT, Python environments, /usr/local/cuda and Debian's folders.
LibraryPlaces cusparselt_places(std::string_view path);

// Wheels (nvidia-cusparselt-cu13, then -cu12 and what PyTorch brings), then the system.
std::vector<std::string> cusparselt_candidates(const LibraryPlaces& places);

}  // namespace twofour::cuda
