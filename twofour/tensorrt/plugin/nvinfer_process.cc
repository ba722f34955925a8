#include "twofour/tensorrt/plugin/nvinfer_process.h"

#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <fmt/format.h>

namespace twofour::tensorrt {
namespace {

using Severity = nvinfer1::ILogger::Severity;

void log(Severity severity, const std::string& message) noexcept {
  try {
    using GetLogger = nvinfer1::ILogger* (*)();
    const auto get =
        reinterpret_cast<GetLogger>(loaded_nvinfer_symbol("getLogger", NV_TENSORRT_MAJOR));
    nvinfer1::ILogger* logger = get == nullptr ? nullptr : get();
    if (logger != nullptr) logger->log(severity, ("twofour: " + message).c_str());
  } catch (...) {
    // There is nowhere left to say it.
  }
}

// Of 8 and 9 a version is major * 1000 + minor * 100 + patch, since 10 major * 10000 + ...
int major_of(int version) { return version >= 10000 ? version / 10000 : version / 1000; }

}  // namespace

void* loaded_nvinfer_symbol(const char* name, int major) {
  if (void* found = dlsym(RTLD_DEFAULT, name)) return found;
  // Python loads the library with a scope of its own.
  const std::string file = fmt::format("libnvinfer.so.{}", major);
  void* library = dlopen(file.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : dlsym(library, name);
}

void log_error(const std::string& message) noexcept { log(Severity::kERROR, message); }
void log_warning(const std::string& message) noexcept { log(Severity::kWARNING, message); }

bool nvinfer_matches() {
  using GetVersion = int32_t (*)();
  const auto get =
      reinterpret_cast<GetVersion>(loaded_nvinfer_symbol("getInferLibVersion", NV_TENSORRT_MAJOR));
  if (get == nullptr) return false;
  if (major_of(get()) == NV_TENSORRT_MAJOR) return true;
  log_error(fmt::format("this library was built for TensorRT {}, but {} is loaded",
                        NV_TENSORRT_MAJOR, version_text(get())));
  return false;
}

std::string version_text(int version) {
  const int major = major_of(version);
  const int rest = version - major * (version >= 10000 ? 10000 : 1000);
  return fmt::format("{}.{}.{}", major, rest / 100, rest % 100);
}

}  // namespace twofour::tensorrt
