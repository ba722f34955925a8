#include "twofour/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <deque>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>
#include <streambuf>
#include <system_error>
#include <vector>

#include "twofour/base/checksum.h"
#include "twofour/base/error.h"
#include "twofour/io/posix_file.h"
#include "twofour/io/zst.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;

bool is_zst(const fs::path& path) { return path.extension() == ".zst"; }

// Absolute and without a trailing slash, so that names beside it can be formed.
fs::path normalized(const fs::path& path) {
  if (path.empty()) throw Error("path", "is empty, expected the name of a file or folder");
  fs::path full = fs::absolute(path).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  if (!full.has_filename()) throw Error(path.string(), "cannot be written: it names no file");
  return full;
}

// Where a process id names one process: this machine since it was started, and its container. A
// folder may be shared with others, whose living writers must not be taken for dead.
std::string scope_of_ids() {
  std::string machine;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> machine;
  std::error_code ignored;
  const fs::path container = fs::read_symlink("/proc/self/ns/pid", ignored);
  const uint64_t sum = checksum64(container.native(), checksum64(machine));
  return fmt::format("{:08x}", sum >> 32);
}

// What the names of temporaries that are written here begin with; process id and a random number
// follow.
std::string temporary_prefix(const fs::path& target) {
  return fmt::format("{}.tmp.{}.", target.filename().string(), scope_of_ids());
}

fs::path temporary_name(const fs::path& target) {
  std::random_device random;
  return temporaries_of(target) += fmt::format("{:08x}", random());
}

std::optional<pid_t> writer_of(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  const bool complete = error == std::errc() && end != name.data() + name.size() && *end == '.';
  return complete && pid > 0 ? std::optional(pid) : std::nullopt;
}

// What killed writers of `target` left. Best effort: a leftover costs disk space only.
void remove_leftovers(const fs::path& target) {
  const std::string prefix = temporary_prefix(target);
  std::error_code error, ignored;
  fs::directory_iterator entry(target.parent_path(), error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const auto writer = writer_of(entry->path().filename().native(), prefix);
    if (writer && ::kill(*writer, 0) != 0 && errno == ESRCH) fs::remove_all(entry->path(), ignored);
  }
}

void prepare_place(const fs::path& target) {
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) throw_system_error(target.parent_path(), "made", error.value());
  remove_leftovers(target);
}

// Removes a temporary file or folder unless it has found its place.
class TemporaryGuard {
 public:
  explicit TemporaryGuard(fs::path path) : path_(std::move(path)) {}
  ~TemporaryGuard() {
    std::error_code ignored;
    if (!placed_) fs::remove_all(path_, ignored);
  }
  TemporaryGuard(const TemporaryGuard&) = delete;
  TemporaryGuard& operator=(const TemporaryGuard&) = delete;

  const fs::path& path() const { return path_; }
  void set_placed() { placed_ = true; }

 private:
  fs::path path_;
  bool placed_ = false;
};

// Writes to a file; remembers the first failure, since streams swallow exceptions and reasons.
class FileBuffer : public std::streambuf {
 public:
  explicit FileBuffer(PosixFile& file) : file_(file), buffer_(1 << 16) { reset(); }

  std::exception_ptr failure() const { return failure_; }

 protected:
  int_type overflow(int_type c) override {
    if (!drain()) return traits_type::eof();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }
  int sync() override { return drain() ? 0 : -1; }
  std::streamsize xsputn(const char* bytes, std::streamsize count) override {
    if (count <= epptr() - pptr()) return std::streambuf::xsputn(bytes, count);
    if (!drain() || !put({bytes, static_cast<size_t>(count)})) return 0;
    return count;
  }

 private:
  void reset() { setp(buffer_.data(), buffer_.data() + buffer_.size()); }
  bool drain() {
    const bool done = put({pbase(), static_cast<size_t>(pptr() - pbase())});
    reset();
    return done;
  }
  bool put(std::string_view bytes) {
    if (failure_) return false;
    try {
      file_.write(bytes);
      return true;
    } catch (const Error&) {
      failure_ = std::current_exception();
      return false;
    }
  }

  PosixFile& file_;
  std::vector<char> buffer_;
  std::exception_ptr failure_;
};

void fill_stream(std::ostream& stream, const std::function<void(std::ostream&)>& write) {
  write(stream);
  if (!stream.flush()) throw Error("stream", "a write failed");
}

void fill_file(PosixFile& file, const std::function<void(std::ostream&)>& write) {
  FileBuffer buffer(file);
  std::ostream stream(&buffer);
  try {
    fill_stream(stream, write);
  } catch (const std::exception&) {
    if (buffer.failure()) std::rethrow_exception(buffer.failure());
    throw;
  }
}

void fill_compressed(PosixFile& file, const std::function<void(std::ostream&)>& write) {
  std::ostringstream text;
  fill_stream(text, write);
  file.write(compress_zst(text.view()));
}

// Runs a step that fills a temporary; its failure becomes one that names the target, and not the
// temporary or a file in it, which are gone then.
template <class Step>
void name_target_in_errors(const fs::path& target, const fs::path& temporary, Step&& step) {
  try {
    step();
  } catch (const fs::filesystem_error& error) {
    if (!error.path1().native().starts_with(temporary.native())) throw;
    throw_system_error(target, "written", error.code().value());
  } catch (const std::exception& error) {
    const auto* ours = dynamic_cast<const Error*>(&error);
    if (ours && ours->where().starts_with(temporary.native())) {
      throw Error(target.string(), ours->message(), ours->remedy());
    }
    throw Error(target.string(),
                fmt::format("could not be written, left as it was: {}", error.what()));
  }
}

// A rename would replace a device or a pipe by a file.
fs::path replaceable(const fs::path& path) {
  fs::path target = normalized(path);
  if (fs::exists(target) && !fs::is_regular_file(target)) {
    throw Error(path.string(), "cannot be written: it exists and is not a regular file");
  }
  return target;
}

void write_temporary(const FileToWrite& target, const fs::path& temporary) {
  name_target_in_errors(target.path, temporary, [&] {
    PosixFile file(temporary, O_WRONLY | O_CREAT | O_EXCL, "made");
    is_zst(target.path) ? fill_compressed(file, target.write) : fill_file(file, target.write);
    file.sync();
    file.close();
  });
}

void sync_tree(const fs::path& root) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) sync_directory(entry.path());
    if (entry.is_regular_file()) PosixFile(entry.path(), O_RDONLY, "synced").sync();
  }
  sync_directory(root);
}

fs::path previous_name(const fs::path& target) {
  return target.parent_path() / fmt::format(".{}.twofour-previous", target.filename().string());
}

std::string read_all(const PosixFile& file, const fs::path& path) {
  std::string content;
  std::vector<char> chunk(1 << 20);
  while (true) {
    const ssize_t count = ::read(file.descriptor(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(path, "read", errno);
    if (count == 0) return content;
    content.append(chunk.data(), static_cast<size_t>(count));
  }
}

}  // namespace

bool is_there(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() != fs::file_type::none) return fs::exists(status);
  throw Error(path.string(), fmt::format("cannot be read: {}", error.message()),
              "Change the permissions of the folder, or name another");
}

void check_place(const fs::path& path) {
  fs::path place = normalized(path).parent_path();
  while (!is_there(place)) place = place.parent_path();  // which writing makes
  if (!fs::is_directory(place)) {
    throw Error(place.string(), "is not a folder", "Choose another place");
  }
  if (::access(place.c_str(), W_OK | X_OK) != 0) {
    throw Error(place.string(),
                fmt::format("cannot be written: {}", std::generic_category().message(errno)),
                "Choose another folder, or change its permissions");
  }
}

std::string read_file(const fs::path& path) {
  const PosixFile file(path, O_RDONLY, "read");
  std::string content = read_all(file, path);
  return is_zst(path) ? decompress_zst(content, path.string()) : content;
}

void write_file_atomically(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  write_files_atomically({{path, write}});
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  write_file_atomically(path, [content](std::ostream& stream) { stream << content; });
}

void write_files_atomically(const std::vector<FileToWrite>& files) {
  std::vector<fs::path> targets;
  std::deque<TemporaryGuard> temporaries;  // which cannot be moved
  for (const FileToWrite& file : files) {
    const fs::path& target = targets.emplace_back(replaceable(file.path));
    prepare_place(target);
    write_temporary(file, temporaries.emplace_back(temporary_name(target)).path());
  }
  for (size_t i = 0; i < files.size(); ++i) {
    name_target_in_errors(files[i].path, temporaries[i].path(),
                          [&] { fs::rename(temporaries[i].path(), targets[i]); });
    temporaries[i].set_placed();
  }
  for (const fs::path& target : targets) sync_directory(target.parent_path());
}

void write_directory_atomically(const fs::path& path,
                                const std::function<void(const fs::path&)>& fill) {
  const fs::path target = normalized(path);
  if (fs::exists(target) && !fs::is_directory(target)) {
    throw Error(path.string(), "cannot be written: it exists and is not a folder");
  }
  prepare_place(target);
  recover_directory(target, previous_name(target));
  TemporaryGuard temporary(temporary_name(target));
  name_target_in_errors(path, temporary.path(), [&] {
    fs::create_directory(temporary.path());
    fill(temporary.path());
    sync_tree(temporary.path());
    replace_directory(temporary.path(), target, previous_name(target));
  });
  temporary.set_placed();
  sync_directory(target.parent_path());
}

fs::path temporaries_of(const fs::path& path) {
  const fs::path target = normalized(path);
  return target.parent_path() / fmt::format("{}{}.", temporary_prefix(target), ::getpid());
}

void recover_directory(const fs::path& path) {
  const fs::path target = normalized(path);
  recover_directory(target, previous_name(target));
}

}  // namespace twofour
