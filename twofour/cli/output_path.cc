#include "twofour/cli/output_path.h"

#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/io/model_directory.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;

// False where one of them does not exist.
bool are_one(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

void check_folder_of(const fs::path& path) {
  const fs::path folder = path.parent_path();
  if (folder.empty()) return;
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (fs::is_directory(status)) return;
  if (status.type() == fs::file_type::not_found) {
    throw Error(path.string(),
                fmt::format("cannot be written: there is no folder {}", folder.string()),
                "Make it first, or name another");
  }
  throw Error(path.string(), fmt::format("cannot be written: {}: {}", folder.string(),
                                         error ? error.message() : "is no folder"));
}

}  // namespace

void check_output_file(const fs::path& path, const std::vector<fs::path>& inputs) {
  if (path.empty()) return;
  check_folder_of(path);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(path.string(), "cannot be written: it is a folder");
  }
  for (const fs::path& input : inputs) {
    if (!are_one(path, input)) continue;
    throw Error(path.string(), "is an input of this command too", "Name another file");
  }
}

void check_output_model(const fs::path& path, const fs::path& model) {
  if (are_one(path, model)) {
    throw Error(path.string(), "is the model itself", "Name another folder");
  }
  check_model_destination(path);
}

}  // namespace twofour::cli
