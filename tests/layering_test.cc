// Compares every #include with the order of the folders: docs/architecture.md, "Layers", whose
// table it reads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

namespace twofour {
namespace {

namespace fs = std::filesystem;
using Folders = std::set<std::string>;

// The table of docs/architecture.md: | `folder` | what it holds | `may` `include` |
std::map<std::string, Folders> read_table() {
  static const std::regex row(R"re(^\| `(\w+)` \| .* \| ((?:`\w+` ?)*)\|$)re"),
      word(R"re(`(\w+)`)re");
  std::map<std::string, Folders> table;
  std::ifstream file(fs::path(TWOFOUR_SOURCE_DIR) / "docs/architecture.md");
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, row)) continue;
    const std::string list = match[2];
    Folders& folders = table[match[1]];
    for (std::sregex_iterator it(list.begin(), list.end(), word), end; it != end; ++it)
      folders.insert((*it)[1]);
  }
  return table;
}

const std::map<std::string, Folders>& allowed() {
  static const std::map<std::string, Folders> table = read_table();
  return table;
}

bool may_include(const std::string& folder, const std::string& header) {
  const std::string target = header.substr(0, header.find('/'));
  if (target == folder || allowed().at(folder).count(target)) return true;
  // The doors to what the command and the run half open at run time.
  if (header == "tensorrt/run_api.h") return folder == "cli" || folder == "runtime";
  return folder == "cli" &&
         (header == "train/api.h" || header == "export/api.h" || header == "tensorrt/api.h");
}

bool is_torch(const std::string& header) {
  return header.rfind("torch/", 0) == 0 || header.rfind("ATen/", 0) == 0 ||
         header.rfind("c10/", 0) == 0;
}

bool is_protobuf(const std::string& header) {
  return header.rfind("google/protobuf/", 0) == 0 || header.rfind("onnx/", 0) == 0;
}

bool is_cuda(const std::string& header) {
  return header.rfind("cu", 0) == 0 && header.find('/') == std::string::npos;
}

bool is_cutlass(const std::string& header) {
  return header.rfind("cutlass/", 0) == 0 || header.rfind("cute/", 0) == 0;
}

bool is_tensorrt(const std::string& header) {
  return header.rfind("NvInfer", 0) == 0 || header.rfind("NvOnnx", 0) == 0;
}

// `path` below twofour/.
bool is_out_of_place(const std::string& path, const std::string& header) {
  return (is_torch(header) && path.rfind("train/", 0) != 0) ||
         (is_protobuf(header) && path.rfind("export/", 0) != 0) ||
         (is_cuda(header) && path.rfind("backend/cuda/", 0) != 0) ||
         (is_cutlass(header) && path.rfind("backend/cuda/spmm24_cutlass_", 0) != 0) ||
         (is_tensorrt(header) && path.rfind("tensorrt/plugin/", 0) != 0 &&
          path.rfind("tensorrt/builder/", 0) != 0);
}

bool is_source(const fs::path& path) {
  static const std::set<std::string> extensions = {".h", ".cc", ".inc", ".cu", ".cuh"};
  return extensions.count(path.extension().string()) != 0;
}

std::vector<std::string> violations(const fs::path& root) {
  static const std::regex include(R"re(^\s*#include\s+["<]([^">]+)[">])re");
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const fs::path& path = entry.path();
    if (!is_source(path)) continue;
    const fs::path relative = path.lexically_relative(root);
    const std::string folder = relative.begin()->string();
    std::ifstream file(path);
    std::string line;
    std::smatch match;
    while (std::getline(file, line)) {
      if (!std::regex_search(line, match, include)) continue;
      const std::string header = match[1];
      const bool own = header.rfind("twofour/", 0) == 0;
      const bool bad =
          own ? !may_include(folder, header.substr(8)) : is_out_of_place(relative.string(), header);
      if (bad) found.push_back(relative.string() + " includes " + header);
    }
  }
  return found;
}

TEST(Layering, EveryIncludePointsUp) {
  EXPECT_THAT(violations(fs::path(TWOFOUR_SOURCE_DIR) / "twofour"), testing::IsEmpty());
}

TEST(Layering, TableKnowsEveryFolder) {
  Folders folders;
  for (const auto& entry : fs::directory_iterator(fs::path(TWOFOUR_SOURCE_DIR) / "twofour")) {
    if (entry.is_directory()) folders.insert(entry.path().filename());
  }
  Folders known;
  for (const auto& [folder, unused] : allowed()) known.insert(folder);
  EXPECT_EQ(folders, known);
}

TEST(Layering, FindsAViolation) {
  const fs::path root = fs::path(testing::TempDir()) / "layering";
  fs::create_directories(root / "sparse");
  std::ofstream(root / "sparse/a.cc") << "#include \"twofour/graph/network.h\"\n#include "
                                         "<torch/torch.h>\n#include <onnx/onnx.pb.h>\n#include "
                                         "<cuda_fp16.h>\n#include <NvInfer.h>\n";
  fs::create_directories(root / "backend/cuda");
  std::ofstream(root / "backend/cuda/a.cu") << "#include <cuda_fp16.h>\n#include "
                                               "\"twofour/runtime/engine.h\"\n"
                                               "#include <cutlass/cutlass.h>\n";
  EXPECT_EQ(violations(root).size(), 7u);
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A header and all headers of ours that it includes, as paths below twofour/.
void collect_headers(const std::string& header, Folders& seen) {
  static const std::regex own(R"re(#include "twofour/([^"]+)")re");
  if (!seen.insert(header).second) return;
  const std::string text = text_of(fs::path(TWOFOUR_SOURCE_DIR) / "twofour" / header);
  for (std::sregex_iterator it(text.begin(), text.end(), own), end; it != end; ++it)
    collect_headers((*it)[1], seen);
}

Folders public_headers() {
  Folders headers;
  for (const char* entry :
       {"base/error.h", "runtime/c_api.h", "runtime/engine.h", "runtime/scorer.h"}) {
    collect_headers(entry, headers);
  }
  return headers;
}

// Applications are written as a user's would be.
TEST(PublicHeaders, AreAllThatApplicationsInclude) {
  static const std::regex own(R"re(#include "twofour/([^"]+)")re");
  const Folders open = public_headers();
  int found = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(TWOFOUR_SOURCE_DIR) / "apps")) {
    if (!is_source(entry.path())) continue;
    const std::string text = text_of(entry.path());
    for (std::sregex_iterator it(text.begin(), text.end(), own), end; it != end; ++it, ++found)
      EXPECT_TRUE(open.count((*it)[1])) << entry.path() << " includes " << (*it)[1];
  }
  EXPECT_GT(found, 0);
}

// Users compile them without third-party headers at hand.
TEST(PublicHeaders, IncludeNoThirdParty) {
  static const std::regex third(
      R"re(#include\s+[<"](fmt|spdlog|nlohmann|CLI|yaml-cpp|unicode|zstd))re");
  for (const std::string& header : public_headers()) {
    EXPECT_FALSE(
        std::regex_search(text_of(fs::path(TWOFOUR_SOURCE_DIR) / "twofour" / header), third))
        << header;
  }
}

TEST(PublicHeaders, AreTheInstalledOnes) {
  static const std::regex header(R"re(\b([a-z]+/[a-z_]+\.h)\b)re");
  const std::string cmake = text_of(fs::path(TWOFOUR_SOURCE_DIR) / "cmake/TwofourInstall.cmake");
  const size_t begin = cmake.find("set(TWOFOUR_PUBLIC_HEADERS"), end = cmake.find(')', begin);
  const std::string list = cmake.substr(begin, end - begin);
  Folders installed;
  for (std::sregex_iterator it(list.begin(), list.end(), header), last; it != last; ++it)
    installed.insert((*it)[1]);
  EXPECT_EQ(installed, public_headers());
}

}  // namespace
}  // namespace twofour
