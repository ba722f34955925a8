#include "twofour/train/run_log.h"

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"

namespace twofour {

RunLog::RunLog(const std::filesystem::path& path, int64_t keep_bytes)
    : path_(path), bytes_(keep_bytes) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (std::filesystem::exists(path, error)) {
    const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
    bytes_ = std::min(bytes_, size);
    std::filesystem::resize_file(path, static_cast<uintmax_t>(bytes_), error);
  } else {
    bytes_ = 0;
  }
  file_.open(path, std::ios::app | std::ios::binary);
  if (error || !file_) throw Error(path.string(), "cannot be written");
}

void RunLog::write(const nlohmann::ordered_json& row) {
  const std::string line = row.dump() + "\n";
  if (!(file_ << line << std::flush)) {
    throw Error(path_.string(), "cannot be written: is the disk full?");
  }
  bytes_ += static_cast<int64_t>(line.size());
}

}  // namespace twofour
