#include "apps/recall/index.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/recall/graph.h"
#include "apps/recall/model_hash.h"
#include "apps/whole_file.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "twofour-recall-index";
constexpr int kVersion = 1;
constexpr const char *kHeader = "index.json", *kIds = "ids.txt", *kVectors = "vectors.f32",
                     *kGraph = "hnsw.bin";

[[noreturn]] void damaged(const fs::path& path, const std::string& what) {
  throw Error(path.string(), what, "Build the index again with twofour-recall build");
}

Json read_header(const fs::path& folder) {
  std::ifstream in(folder / kHeader);
  if (!in) throw Error((folder / kHeader).string(), "cannot be opened: is this an index?");
  Json header = Json::parse(in, nullptr, false);
  const bool ours = header.is_object() && header.value("format", "") == kFormat &&
                    header.value("version", 0) == kVersion;
  if (!ours) damaged(folder / kHeader, "is not the header of an index of this version");
  for (const char* key : {"width", "documents"}) {
    if (!header.contains(key) || !header[key].is_number_unsigned())
      damaged(folder / kHeader, fmt::format("key \"{}\" is missing or no number", key));
  }
  for (const char* key : {"kind", "model_hash"}) {
    if (!header.contains(key) || !header[key].is_string())
      damaged(folder / kHeader, fmt::format("key \"{}\" is missing or no string", key));
  }
  if (!header.contains("files") || !header["files"].is_object())
    damaged(folder / kHeader, "key \"files\" is missing");
  return header;
}

void check_model(const fs::path& folder, const std::string& found, const std::string& expected) {
  if (found == expected) return;
  throw Error(folder.string(),
              fmt::format("was built with the model of hash {}, but this model has hash {}", found,
                          expected),
              "Search with the model that built it, or build an index with this one");
}

void check_files(const fs::path& folder, const Json& header) {
  for (const auto& [name, hash] : header["files"].items()) {
    const fs::path path = folder / fs::path(name).filename();
    if (!hash.is_string() || file_hash(path) != hash.get<std::string>())
      damaged(path, "was changed since the index was written");
  }
}

std::vector<std::string> read_ids(const fs::path& path) {
  std::ifstream in(path);
  std::vector<std::string> ids;
  for (std::string line; std::getline(in, line);) ids.push_back(line);
  return ids;
}

std::vector<float> read_values(const fs::path& path, size_t count) {
  if (fs::file_size(path) != count * sizeof(float))
    damaged(path,
            fmt::format("has {} bytes, expected {}", fs::file_size(path), count * sizeof(float)));
  std::vector<float> values(count);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(count * sizeof(float)));
  if (!in) damaged(path, "cannot be read");
  return values;
}

}  // namespace

Index::Index() = default;
Index::~Index() = default;
Index::Index(Index&&) noexcept = default;

Index::Index(IndexKind kind, std::string model_hash, std::vector<std::string> ids, Vectors vectors,
             const GraphOptions& options)
    : kind_(kind),
      model_hash_(std::move(model_hash)),
      ids_(std::move(ids)),
      vectors_(std::move(vectors)) {
  if (std::ssize(ids_) != vectors_.rows()) {
    throw Error("index", fmt::format("{} ids but {} embeddings", ids_.size(), vectors_.rows()));
  }
  if (kind_ == IndexKind::kApproximate) graph_ = Graph::build(vectors_, options);
}

void Index::save(const fs::path& folder) const {
  if (fs::exists(folder)) throw Error(folder.string(), "exists already", "Name another folder");
  const fs::path beside = folder.string() + ".part";
  fs::remove_all(beside);
  fs::create_directories(beside);
  write_whole_file(beside / kIds, [&](std::ostream& out) {
    for (const std::string& id : ids_) out << id << '\n';
  });
  write_whole_file(beside / kVectors, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(vectors_.values.data()),
              static_cast<std::streamsize>(vectors_.values.size() * sizeof(float)));
  });
  if (graph_) graph_->save(beside / kGraph);
  Json header = {{"format", kFormat},
                 {"version", kVersion},
                 {"kind", graph_ ? "approximate" : "exact"},
                 {"width", vectors_.width},
                 {"documents", ids_.size()},
                 {"model_hash", model_hash_}};
  for (const char* name : {kIds, kVectors, kGraph}) {
    if (fs::exists(beside / name)) header["files"][name] = file_hash(beside / name);
  }
  write_whole_file(beside / kHeader, [&](std::ostream& out) { out << header.dump(2) << '\n'; });
  fs::rename(beside, folder);
}

Index Index::load(const fs::path& folder, const std::string& model_hash,
                  const GraphOptions& options) {
  const Json header = read_header(folder);
  check_model(folder, header["model_hash"].get<std::string>(), model_hash);
  check_files(folder, header);
  Index index;
  index.model_hash_ = model_hash;
  index.ids_ = read_ids(folder / kIds);
  index.vectors_.width = header["width"].get<int64_t>();
  const auto documents = header["documents"].get<int64_t>();
  if (std::ssize(index.ids_) != documents)
    damaged(folder / kIds, fmt::format("has {} lines, expected {}", index.ids_.size(), documents));
  index.vectors_.values =
      read_values(folder / kVectors, static_cast<size_t>(documents * index.vectors_.width));
  if (header["kind"] == "approximate") {
    index.kind_ = IndexKind::kApproximate;
    index.graph_ = Graph::load(folder / kGraph, index.vectors_.width, documents, options);
  }
  return index;
}

void Index::check_width(std::span<const float> query) const {
  if (std::ssize(query) == vectors_.width) return;
  throw Error("index", fmt::format("a query of width {} for embeddings of width {}", query.size(),
                                   vectors_.width));
}

std::vector<Hit> Index::search_exactly(std::span<const float> query, int64_t k) const {
  check_width(query);
  return nearest(vectors_, query, k);
}

std::vector<Hit> Index::search(std::span<const float> query, int64_t k) const {
  if (!graph_) return search_exactly(query, k);
  check_width(query);
  return graph_->search(query, std::min<int64_t>(k, vectors_.rows()));
}

}  // namespace twofour::recall
