#include "twofour/backend/cuda/open_device.h"

#include <fmt/format.h>

#include "twofour/backend/cuda/plan_file.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr int kFirstSparseCapability = 80;

template <class Library, class Open>
void open_or_say_why(std::unique_ptr<Library>& library, std::string& missing, Open open) {
  try {
    library = open();
  } catch (const Error& error) {
    missing = error.what();
  }
}

}  // namespace

FoundLibraries find_libraries() {
  runtime();  // throws in a build without CUDA
  FoundLibraries libraries;
  open_or_say_why(libraries.sparse, libraries.sparse_missing, [] { return open_cusparselt(); });
  open_or_say_why(libraries.dense, libraries.dense_missing, [] { return open_cublaslt(); });
  return libraries;
}

DeviceProperties require_device(Runtime& runtime, int device) {
  int driver = 0, built_for = 0, count = 0;
  if (runtime.driver_version(driver) != Status::kSuccess || driver == 0) {
    throw Error("cuda", "no NVIDIA driver was found",
                "Run it on a machine with a GPU; twofour doctor says what was found");
  }
  if (const Status status = runtime.device_count(count); status != Status::kSuccess) {
    runtime.runtime_version(built_for);
    throw Error("cuda", fmt::format("the driver serves CUDA {}, this build is of {}: {}",
                                    cuda_version_text(driver), cuda_version_text(built_for),
                                    runtime.status_text(status)));
  }
  if (device < 0 || device >= count)
    throw Error("cuda", fmt::format("there is no cuda:{}: {} devices were found", device, count));
  DeviceProperties properties;
  check(runtime, runtime.properties(device, properties), "cudaGetDeviceProperties");
  if (properties.capability() < kFirstSparseCapability) {
    throw Error("cuda", fmt::format("{} has compute capability {}.{}; 2:4 products need 8.0",
                                    properties.name, properties.major, properties.minor));
  }
  return properties;
}

}  // namespace twofour::cuda
