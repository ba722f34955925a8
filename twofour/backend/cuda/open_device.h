// An NVIDIA device as a command opens it: the libraries that are there and why others are not.
#pragma once

#include <memory>
#include <string>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

struct FoundLibraries {
  std::unique_ptr<CusparseLt> sparse;  // null where it was not found
  std::string sparse_missing;          // why
  std::unique_ptr<CublasLt> dense;
  std::string dense_missing;
};

// Opens both where they are. Needs no device and touches none. Throws Error in a build without
// CUDA.
FoundLibraries find_libraries();

// Throws Error that says what is missing: a driver, one that is new enough, a device of that
// number, or sparse Tensor Cores in it. For a command this is the process's first call of the CUDA
// runtime.
DeviceProperties require_device(Runtime& runtime, int device);

}  // namespace twofour::cuda
