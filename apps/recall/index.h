// An index over the embeddings of a collection: exact, or approximate by hnswlib. A folder:
//
//   index.json   kind, width, number of documents, and the hash of the model that made them
//   ids.txt      one a line
//   vectors.f32  [documents, width], little endian
//   hnsw.bin     the graph, of an approximate index
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/recall/vectors.h"

namespace twofour::recall {

enum class IndexKind { kExact, kApproximate };

// Of the graph of an approximate index (Malkov & Yashunin 2018, arXiv:1603.09320).
struct GraphOptions {
  int links = 16;            // M
  int build_breadth = 200;   // candidates looked at when a document is added
  int search_breadth = 512;  // candidates looked at for a query; at least k
};

class Graph;  // of hnswlib

class Index {
 public:
  // Throws Error: other numbers of ids and rows, kApproximate without hnswlib.
  Index(IndexKind kind, std::string model_hash, std::vector<std::string> ids, Vectors vectors,
        const GraphOptions& options = {});
  ~Index();
  Index(Index&&) noexcept;

  // Writes the folder beside and renames it. Throws Error if it exists.
  void save(const std::filesystem::path& folder) const;

  // Throws Error naming the file: damaged or missing, of another version, made by a model with
  // another hash than `model_hash`.
  static Index load(const std::filesystem::path& folder, const std::string& model_hash,
                    const GraphOptions& options = {});

  IndexKind kind() const { return kind_; }
  const std::vector<std::string>& ids() const { return ids_; }
  int64_t width() const { return vectors_.width; }

  // At most k documents, best first. Throws Error for a query of another width. One caller at a
  // time.
  std::vector<Hit> search(std::span<const float> query, int64_t k) const;
  std::vector<Hit> search_exactly(std::span<const float> query, int64_t k) const;

 private:
  Index();
  void check_width(std::span<const float> query) const;

  IndexKind kind_ = IndexKind::kExact;
  std::string model_hash_;
  std::vector<std::string> ids_;
  Vectors vectors_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace twofour::recall
