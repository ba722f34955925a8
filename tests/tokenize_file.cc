// Prints the token ids of each line of a file, for scripts/test-tokenizer. Lines end with a NUL
// byte, so that a text may hold any line break. Usage: tokenize_file TOKENIZER_FOLDER FILE. The
// rate goes to stderr.
#include <cstdio>
#include <ctime>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "twofour/io/file.h"
#include "twofour/io/wordpiece_config.h"

namespace {

namespace fs = std::filesystem;

std::optional<std::string> read_if_present(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  return twofour::read_file(path);
}

void print(const twofour::Encoding& encoding, std::string& out) {
  for (const int32_t id : encoding.ids) out += std::to_string(id) + " ";
  out.back() = '\n';
}

void tokenize_file(const fs::path& folder, const fs::path& path) {
  constexpr int64_t kNoLimit = std::numeric_limits<int32_t>::max();
  const twofour::TokenizerFiles files{
      [&](std::string_view name) { return read_if_present(folder / name); }, folder.string()};
  const auto tokenizer =
      twofour::make_wordpiece_tokenizer(twofour::read_wordpiece_config(files, kNoLimit));
  const std::string text = twofour::read_file(path);
  std::clock_t clocks = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\0', begin), text.size());
    const std::clock_t start = std::clock();
    const auto encoding =
        tokenizer->encode(std::string_view(text).substr(begin, end - begin), kNoLimit);
    clocks += std::clock() - start;
    std::string line;
    print(encoding, line);
    std::fputs(line.c_str(), stdout);
    begin = end + 1;
  }
  std::fprintf(
      stderr, "%.1f MB/s of processor time\n",
      static_cast<double>(text.size()) / 1e6 / (static_cast<double>(clocks) / CLOCKS_PER_SEC));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tokenize_file TOKENIZER_FOLDER FILE\n");
    return 2;
  }
  try {
    tokenize_file(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
