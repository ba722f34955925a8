// The same as consumer.c through the C++ API, with the model loaded from memory.
#include <twofour/base/error.h>
#include <twofour/runtime/scorer.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

namespace {

std::map<std::string, std::string> read_files(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().lexically_relative(folder).string()] = {std::istreambuf_iterator<char>(file),
                                                               {}};
  }
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    twofour::Engine::load("/nonexistent");
    return 3;
  } catch (
      const twofour::Error&) {  // the type must be the same on both sides of the library's edge
  }
  const auto files = read_files(argv[1]);
  std::map<std::string, std::span<const std::byte>> views;
  for (const auto& [name, bytes] : files) views[name] = std::as_bytes(std::span(bytes));
  const auto model = twofour::ModelDirectory::from_memory(views, "model in memory");
  twofour::Scorer scorer(twofour::Engine::load(model), {.threads = 2});
  const twofour::TextPair pairs[] = {{"image editor", "paint program"},
                                     {"image editor", "mail server"}};
  const auto scores = scorer.score(pairs);
  std::printf("%.6f %.6f\n", scores[0].score, scores[1].score);
}
