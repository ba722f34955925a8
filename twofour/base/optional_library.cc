#include "twofour/base/optional_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "twofour/base/error.h"

namespace twofour {
namespace {

std::vector<std::filesystem::path> candidates(const OptionalLibrary& library) {
  if (const char* named = std::getenv(library.variable); named && *named) return {named};
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::filesystem::path> paths{folder / library.file};
  // The build tree's place, then the installed one.
  for (const char* libraries : {"../lib", TWOFOUR_LIBRARY_FOLDER}) {
    const auto path = (folder / libraries / library.file).lexically_normal();
    if (path != paths.back()) paths.push_back(path);
  }
  return paths;
}

std::filesystem::path find_library(const OptionalLibrary& library) {
  std::string tried;
  for (const auto& path : candidates(library)) {
    if (std::filesystem::exists(path)) return path;
    tried += (tried.empty() ? "" : " and ") + path.string();
  }
  throw Error(
      library.file, fmt::format("the {} is not there: tried {}", library.what, tried),
      fmt::format("{}, or set {} to the library's path", library.absent_remedy, library.variable));
}

}  // namespace

void* open_library(const OptionalLibrary& library) {
  const auto path = find_library(library);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    throw Error(path.string(), fmt::format("cannot be loaded: {}", dlerror()),
                library.loading_remedy);
  }
  void* symbol = dlsym(handle, library.symbol);
  if (!symbol) {
    throw Error(path.string(),
                fmt::format("does not export {}: it is of another version", library.symbol),
                fmt::format("Build the command and the {} together", library.what));
  }
  return symbol;
}

}  // namespace twofour
