// What index.cc asks of hnswlib; without that package, every call throws.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "apps/recall/index.h"

namespace twofour::recall {

class Graph {
 public:
  // Documents are added one after the other: equal vectors give an equal graph.
  static std::unique_ptr<Graph> build(const Vectors& vectors, const GraphOptions& options);
  // Throws Error if the file is damaged or holds another number of documents.
  static std::unique_ptr<Graph> load(const std::filesystem::path& path, int64_t width,
                                     int64_t documents, const GraphOptions& options);

  virtual ~Graph() = default;
  virtual void save(const std::filesystem::path& path) const = 0;
  virtual std::vector<Hit> search(std::span<const float> query, int64_t k) const = 0;
};

}  // namespace twofour::recall
