#include "apps/recall/model_hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

namespace fs = std::filesystem;

class Fnv1a {
 public:
  void add(const char* data, size_t size) {
    for (size_t i = 0; i < size; ++i) {
      state_ = (state_ ^ static_cast<unsigned char>(data[i])) * 0x100000001b3U;
    }
  }
  std::string text() const { return fmt::format("{:016x}", state_); }

 private:
  uint64_t state_ = 0xcbf29ce484222325U;
};

// twofour.json says how the model came about, not what it computes.
bool decides(const fs::path& path) {
  const std::string name = path.filename().string(), extension = path.extension().string();
  return extension == ".safetensors" || (extension == ".json" && name != "twofour.json") ||
         name == "vocab.txt";
}

void add_file(const fs::path& path, Fnv1a& hash) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string(), "cannot be opened");
  std::vector<char> block(size_t{1} << 20);
  while (in.read(block.data(), std::ssize(block)) || in.gcount() > 0) {
    hash.add(block.data(), static_cast<size_t>(in.gcount()));
  }
}

}  // namespace

std::string model_hash(const fs::path& model) {
  if (!fs::is_directory(model)) throw Error(model.string(), "is no model directory");
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(model)) {
    if (entry.is_regular_file() && decides(entry.path())) files.push_back(entry.path());
  }
  if (files.empty()) throw Error(model.string(), "holds no model");
  std::ranges::sort(files);
  Fnv1a hash;
  for (const fs::path& file : files) {
    const std::string name = file.lexically_relative(model).generic_string();
    hash.add(name.c_str(), name.size() + 1);
    add_file(file, hash);
  }
  return hash.text();
}

std::string file_hash(const fs::path& file) {
  Fnv1a hash;
  add_file(file, hash);
  return hash.text();
}

}  // namespace twofour::recall
