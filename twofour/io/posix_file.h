// POSIX files and folders whose failures are Errors with the system's reason. Private to io/.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace twofour {

// Throws Error: "[path] cannot be <done>: <reason of errno>".
[[noreturn]] void throw_system_error(const std::filesystem::path& path, std::string_view done,
                                     int error);

// An open descriptor. Throws Error on every failure.
class PosixFile {
 public:
  PosixFile(const std::filesystem::path& path, int flags, std::string_view purpose);
  ~PosixFile();
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  int descriptor() const { return descriptor_; }
  void write(std::string_view bytes);
  void sync();
  void close();  // reports what a network file system finds out only now

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

// A whole regular file mapped for reading. The mapping outlives a rename over the file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

void sync_directory(const std::filesystem::path& path);

// Puts the folder `fresh` where `target` is or was. Without `exchange` (or where the file system
// has none) the old folder waits as `previous` between two renames. Afterwards the old folder is
// gone.
void replace_directory(const std::filesystem::path& fresh, const std::filesystem::path& target,
                       const std::filesystem::path& previous, bool exchange = true);

// Repairs what a kill inside replace_directory left: `previous` returns to `target`, or goes if
// `target` is there.
void recover_directory(const std::filesystem::path& target, const std::filesystem::path& previous);

}  // namespace twofour
