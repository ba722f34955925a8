#include "twofour/backend/cuda/open_device.h"

#include <fmt/format.h>

#include "twofour/backend/cuda/plan_file.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr int kFirstSparseCapability = 80;

constexpr std::string_view kUseCpu = "or run on the device cpu";

// Driver and number of devices.
int count_devices(Runtime& runtime, const std::string& name) {
  int driver = 0, built_for = 0, count = 0;
  if (runtime.driver_version(driver) != Status::kSuccess || driver == 0)
    throw Error(name, "no NVIDIA driver is installed", fmt::format("Install one, {}", kUseCpu));
  runtime.runtime_version(built_for);
  const Status status = runtime.device_count(count);
  if (status == Status::kInsufficientDriver) {
    throw Error(name,
                fmt::format("the driver serves CUDA {}, this build needs {}",
                            cuda_version_text(driver), cuda_version_text(built_for)),
                fmt::format("Install a newer driver, {}", kUseCpu));
  }
  if (status == Status::kNoDevice) return 0;
  check(runtime, status, "cudaGetDeviceCount");
  return count;
}

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
  const std::string name = fmt::format("cuda:{}", device);
  const int count = count_devices(runtime, name);
  if (device < 0 || device >= count) {
    throw Error(name,
                count == 0 ? "no NVIDIA GPU was found"
                           : fmt::format("there is no such device, the last is cuda:{}", count - 1),
                fmt::format("See `twofour doctor`, {}", kUseCpu));
  }
  DeviceProperties found;
  check(runtime, runtime.properties(device, found), "cudaGetDeviceProperties");
  if (found.capability() < kFirstSparseCapability) {
    throw Error(name,
                fmt::format("{} has compute capability {}.{}, expected 8.0 or later", found.name,
                            found.major, found.minor),
                fmt::format("Use a GPU of the Ampere generation or later, {}", kUseCpu));
  }
  return found;
}

}  // namespace twofour::cuda
