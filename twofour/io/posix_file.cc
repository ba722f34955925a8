#include "twofour/io/posix_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "twofour/base/error.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;

// Larger requests are cut by the kernel anyway.
constexpr size_t kWriteChunk = size_t{1} << 30;

bool cannot_exchange(int error) { return error == EINVAL || error == ENOSYS || error == ENOTSUP; }

const char* remedy_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "Free space and run it again";
    case EACCES:
    case EPERM:
      return "Change its permissions, or name another";
    case EROFS:
      return "Name a place that can be written";
    case EISDIR:
      return "Name a file";
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
      return "Check its name";
    default:
      return "";
  }
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error(to, "replaced", errno);
}

// A leftover costs disk space, not correctness.
void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

void throw_system_error(const fs::path& path, std::string_view done, int error) {
  throw Error(path.string(),
              fmt::format("cannot be {}: {}", done, std::generic_category().message(error)),
              remedy_of(error));
}

PosixFile::PosixFile(const fs::path& path, int flags, std::string_view purpose) : path_(path) {
  do {
    descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) throw_system_error(path, purpose, errno);
}

PosixFile::~PosixFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void PosixFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kWriteChunk));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_system_error(path_, "written", errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void PosixFile::sync() {
  while (::fsync(descriptor_) != 0) {
    if (errno == EINVAL) return;  // the file system (or a device) has nothing to sync
    if (errno != EINTR) throw_system_error(path_, "written", errno);
  }
}

void PosixFile::close() {
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0 && errno != EINTR) throw_system_error(path_, "written", errno);
}

MappedFile::MappedFile(const fs::path& path) {
  const PosixFile file(path, O_RDONLY, "read");
  struct stat status;
  if (::fstat(file.descriptor(), &status) != 0) throw_system_error(path, "read", errno);
  if (!S_ISREG(status.st_mode)) throw Error(path.string(), "is not a regular file");
  if (status.st_size == 0) return;
  const auto size = static_cast<size_t>(status.st_size);
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (memory == MAP_FAILED) throw_system_error(path, "mapped", errno);
  bytes_ = {static_cast<const std::byte*>(memory), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void sync_directory(const fs::path& path) {
  // A folder may allow new files and yet forbid to open itself, without which it cannot be synced.
  if (::access(path.c_str(), R_OK) != 0 && errno == EACCES) return;
  PosixFile directory(path, O_RDONLY | O_DIRECTORY, "synced");
  directory.sync();
}

void replace_directory(const fs::path& fresh, const fs::path& target, const fs::path& previous,
                       bool exchange) {
  if (!fs::exists(fs::symlink_status(target))) return rename_or_throw(fresh, target);
  if (exchange) {
    if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
      return remove_quietly(fresh);
    }
    if (!cannot_exchange(errno)) throw_system_error(target, "replaced", errno);
  }
  rename_or_throw(target, previous);
  if (::rename(fresh.c_str(), target.c_str()) != 0) {
    const int error = errno;
    rename_or_throw(previous, target);
    throw_system_error(target, "replaced", error);
  }
  remove_quietly(previous);
}

void recover_directory(const fs::path& target, const fs::path& previous) {
  if (!fs::exists(fs::symlink_status(previous))) return;
  if (fs::exists(fs::symlink_status(target))) return remove_quietly(previous);
  rename_or_throw(previous, target);
}

}  // namespace twofour
