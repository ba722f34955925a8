#include "twofour/cli/output_path.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <system_error>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/model_directory.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;

// False where one of them does not exist.
bool are_one(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

// Whether a file that exists lies in a folder, at any depth.
bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(path, ignored) || !fs::is_directory(folder, ignored)) return false;
  fs::path parent = fs::weakly_canonical(path, ignored).parent_path();
  for (; parent.has_relative_path(); parent = parent.parent_path()) {
    if (are_one(parent, folder)) return true;
  }
  return false;
}

bool is_result(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with("eval") || name.starts_with("bench") || name.starts_with("scores") ||
         name.ends_with(".run.zst") || name.ends_with(".html");
}

bool is_standard_output(const fs::path& path) {
  return path.empty() || are_one(path, "/dev/stdout");
}

[[noreturn]] void fail_as_input(const fs::path& path) {
  throw Error(path.string(), "is an input of this command too", "Name another file");
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
  throw Error(path.string(),
              fmt::format("cannot be written: {}: {}", folder.string(),
                          error ? error.message() : "is no folder"),
              "Name another");
}

}  // namespace

void check_output_file(const fs::path& path, const std::vector<fs::path>& inputs) {
  if (path.empty()) return;
  check_folder_of(path);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(path.string(), "cannot be written: it is a folder", "Name a file in it");
  }
  for (const fs::path& input : inputs) {
    if (are_one(path, input) || (lies_in(path, input) && !is_result(path))) fail_as_input(path);
  }
}

void check_output_files(const std::vector<fs::path>& paths, const std::vector<fs::path>& inputs) {
  for (size_t i = 0; i < paths.size(); ++i) {
    check_output_file(paths[i], inputs);
    for (size_t j = 0; j < i && !paths[i].empty(); ++j) {
      if (paths[i].lexically_normal() == paths[j].lexically_normal())
        throw Error(paths[i].string(), "is named for two outputs", "Name another file for one");
    }
  }
}

void check_output_page(const fs::path& path, const std::vector<fs::path>& inputs) {
  check_output_file(path, inputs);
  if (path.extension() == ".html" || is_stream(path)) return;
  throw Error(path.string(), "the name of a page must end in .html", "Name a file that ends so");
}

void check_output_model(const fs::path& path, const fs::path& model, bool replace) {
  if (are_one(path, model)) {
    throw Error(path.string(), "is the model itself", "Name another folder");
  }
  check_model_destination(path);
  check_place(path);
  if (!replace && fs::exists(path) && !fs::is_empty(path)) {
    throw Error(path.string(), "holds a model already", "Name another folder, or give --force");
  }
}

bool is_stream(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return fs::is_character_file(status) || fs::is_fifo(status) || is_standard_output(path);
}

void write_output(const fs::path& path, std::ostream& standard_output,
                  const std::function<void(std::ostream&)>& write) {
  if (is_standard_output(path)) return write(standard_output);
  if (!is_stream(path)) return write_file_atomically(path, write);
  std::ofstream out(path, std::ios::binary | std::ios::app);
  const int error = errno;
  if (!out) {
    throw Error(path.string(),
                fmt::format("cannot be written: {}", std::generic_category().message(error)));
  }
  write(out);
  if (!out.flush()) throw Error(path.string(), "cannot be written: it takes no more");
}

}  // namespace twofour::cli
