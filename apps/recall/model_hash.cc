#include "apps/recall/model_hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "apps/fnv1a.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

namespace fs = std::filesystem;

// twofour.json says how the model came about, not what it computes.
bool decides(const fs::path& path) {
  const std::string name = path.filename().string(), extension = path.extension().string();
  return extension == ".safetensors" || (extension == ".json" && name != "twofour.json") ||
         name == "vocab.txt";
}

uint64_t add_file(const fs::path& path, uint64_t hash) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string(), "cannot be opened");
  std::vector<char> block(size_t{1} << 20);
  while (in.read(block.data(), std::ssize(block)) || in.gcount() > 0) {
    hash = fnv1a({block.data(), static_cast<size_t>(in.gcount())}, hash);
  }
  return hash;
}

std::string text_of(uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace

std::string model_hash(const fs::path& model) {
  if (!fs::is_directory(model)) throw Error(model.string(), "is no model directory");
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(model)) {
    if (entry.is_regular_file() && decides(entry.path())) files.push_back(entry.path());
  }
  if (files.empty()) throw Error(model.string(), "holds no model");
  std::ranges::sort(files);
  uint64_t hash = kFnvStart;
  for (const fs::path& file : files) {
    const std::string name = file.lexically_relative(model).generic_string();
    hash = add_file(file, fnv1a({name.c_str(), name.size() + 1}, hash));
  }
  return text_of(hash);
}

std::string file_hash(const fs::path& file) { return text_of(add_file(file, kFnvStart)); }

}  // namespace twofour::recall
