#include "twofour/backend/cuda/diagnosis.h"

#include <fmt/format.h>

#include "twofour/backend/cuda/find_cublaslt.h"
#include "twofour/backend/cuda/find_cusparselt.h"
#include "twofour/backend/cuda/plan_file.h"

namespace twofour::cuda {
namespace {

std::string describe(const DeviceProperties& device) {
  const std::string text =
      fmt::format("{}, sm_{}, {} GiB", device.name, device.capability(), device.memory_bytes >> 30);
  return device.capability() >= 80 ? text : text + ", no 2:4 products";
}

#if defined(TWOFOUR_CUDA_TOOLKIT)
// What `describe` says, or the error.
template <class Describe>
std::string found_or_why_not(Describe describe) {
  try {
    return describe();
  } catch (const std::exception& error) {
    return error.what();
  }
}
#endif

}  // namespace

std::string Diagnosis::summary() const {
  if (!built) return "none: built without CUDA";
  return problem.empty() ? fmt::format("{}", fmt::join(devices, "; ")) : "none: " + problem;
}

void diagnose_runtime(Runtime& runtime, Diagnosis& out) {
  int version = 0, count = 0;
  if (runtime.runtime_version(version) == Status::kSuccess)
    out.runtime = cuda_version_text(version);
  version = 0;
  if (runtime.driver_version(version) != Status::kSuccess || version == 0) {
    out.driver = out.problem = "no driver";
    return;
  }
  out.driver = cuda_version_text(version);
  if (const Status status = runtime.device_count(count); status != Status::kSuccess || count == 0) {
    out.problem = status == Status::kSuccess ? "no device" : runtime.status_text(status);
    return;
  }
  for (int device = 0; device < count; ++device) {
    DeviceProperties properties;
    const Status status = runtime.properties(device, properties);
    out.devices.push_back(status == Status::kSuccess ? describe(properties)
                                                     : runtime.status_text(status));
  }
}

std::string describe_cusparselt(const CusparseLt& library) {
  const bool known = is_known_cusparselt_version(library.version());
  return fmt::format("{}{} ({})", cusparselt_version_text(library.version()),
                     known ? "" : ", a version that was not tried", library.origin());
}

std::string describe_cublaslt(const CublasLt& library) {
  return fmt::format("{} ({})", cublaslt_version_text(library.version()), library.origin());
}

Diagnosis diagnose() {
  Diagnosis out;
#if defined(TWOFOUR_CUDA_TOOLKIT)
  out.built = true;
  out.toolkit = TWOFOUR_CUDA_TOOLKIT;
  out.architectures = TWOFOUR_CUDA_ARCHITECTURES;
  diagnose_runtime(runtime(), out);
  out.cusparselt = found_or_why_not([] { return describe_cusparselt(*open_cusparselt()); });
  out.cublaslt = found_or_why_not([] { return describe_cublaslt(*open_cublaslt()); });
#endif
  return out;
}

}  // namespace twofour::cuda
