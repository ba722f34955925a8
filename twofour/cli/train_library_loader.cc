#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/train/api.h"

namespace twofour {
namespace {

constexpr const char* kLibrary = "libtwofour_train.so";
constexpr const char* kRemedy =
    "Build with -DTWOFOUR_TRAIN=ON (preset release), or set TWOFOUR_TRAIN_LIBRARY to the library's "
    "path";

std::vector<std::filesystem::path> candidates() {
  if (const char* named = std::getenv("TWOFOUR_TRAIN_LIBRARY"); named && *named) return {named};
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::filesystem::path> paths{folder / kLibrary};
  // The build tree's place, then the installed one.
  for (const char* libraries : {"../lib", TWOFOUR_LIBRARY_FOLDER}) {
    const auto path = (folder / libraries / kLibrary).lexically_normal();
    if (path != paths.back()) paths.push_back(path);
  }
  return paths;
}

std::filesystem::path find_library() {
  std::string tried;
  for (const auto& path : candidates()) {
    if (std::filesystem::exists(path)) return path;
    tried += (tried.empty() ? "" : " and ") + path.string();
  }
  throw Error(kLibrary, fmt::format("the training library is not there: tried {}", tried), kRemedy);
}

TrainApi* open_library() {
  const auto path = find_library();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    throw Error(path.string(), fmt::format("cannot be loaded: {}", dlerror()),
                "LibTorch must stand where the library was built against it; run scripts/setup");
  }
  const auto make = reinterpret_cast<TrainApiFunction>(dlsym(library, kTrainApiSymbol));
  if (!make) {
    throw Error(path.string(),
                fmt::format("does not export {}: it is of another version", kTrainApiSymbol),
                "Build the command and the training library together");
  }
  return make();
}

}  // namespace

TrainApi& train_api() {
  static std::mutex mutex;
  static TrainApi* api = nullptr;
  const std::lock_guard lock(mutex);
  if (!api) api = open_library();
  return *api;
}

}  // namespace twofour
