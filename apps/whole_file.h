// Files that are whole or not there.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "twofour/base/error.h"

namespace twofour {

// Writes beside and renames. Throws Error naming the file, with the system's reason.
template <class Write>
void write_whole_file(const std::filesystem::path& path, const Write& write) {
  const std::filesystem::path beside = path.string() + ".part";
  errno = 0;
  std::ofstream out(beside, std::ios::binary);
  if (out) {
    write(out);
    out.close();
  }
  std::error_code error(errno, std::generic_category());
  if (out) std::filesystem::rename(beside, path, error);
  if (out && !error) return;
  std::error_code ignored;
  std::filesystem::remove(beside, ignored);
  throw Error(path.string(), fmt::format("cannot be written: {}", error.message()));
}

}  // namespace twofour
