// Where cuBLASLt may lie, and which of its versions this project works with.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/find_library.h"

namespace twofour::cuda {

// Of the library's number: 130100 is 13.1.0.
std::string cublaslt_version_text(int version);

// Why a library of this version is not used; nothing where it is: those of CUDA 12 and 13.
std::optional<std::string> rejects_cublaslt_version(int version);

// `path` or TWOFOUR_CUBLASLT, Python environments, /usr/local/cuda and Debian's folder.
LibraryPlaces cublaslt_places(std::string_view path);

// libcublasLt.so.13 before .so.12: wheels (nvidia-cublas, nvidia-cublas-cu12), then the system.
std::vector<std::string> cublaslt_candidates(const LibraryPlaces& places);

}  // namespace twofour::cuda
