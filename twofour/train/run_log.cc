#include "twofour/train/run_log.h"

#include <fmt/format.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view done, int error,
                       std::string_view remedy) {
  throw Error(path.string(),
              fmt::format("cannot be {}: {}", done, std::generic_category().message(error)),
              remedy);
}

int64_t bytes_in_whole_lines(const std::filesystem::path& path) {
  return static_cast<int64_t>(read_file(path).rfind('\n') + 1);  // no line: npos + 1 is 0
}

constexpr const char* kPlace = "Choose another folder for the run, or change its permissions.";

}  // namespace

RunLog::RunLog(const std::filesystem::path& path, int64_t keep_bytes)
    : path_(path), bytes_(keep_bytes) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) fail(path.parent_path(), "made", error.value(), kPlace);
  if (std::filesystem::exists(path, error)) {
    const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
    if (!error && size < bytes_) bytes_ = bytes_in_whole_lines(path);
    std::filesystem::resize_file(path, static_cast<uintmax_t>(bytes_), error);
  } else {
    bytes_ = 0;
  }
  if (error) fail(path, "written", error.value(), kPlace);
  file_.open(path, std::ios::app | std::ios::binary);
  if (!file_) fail(path, "written", errno, kPlace);
}

void RunLog::write(const nlohmann::ordered_json& row) {
  if (path_.empty()) return;
  const std::string line = json_text(row) + "\n";
  if (!(file_ << line << std::flush)) {
    fail(path_, "written", errno,
         "Free space if the disk is full; --resume goes on from the last checkpoint.");
  }
  bytes_ += static_cast<int64_t>(line.size());
}

}  // namespace twofour
