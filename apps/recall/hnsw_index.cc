#include <fmt/format.h>
#include <hnswlib/hnswlib.h>

#include <algorithm>

#include "apps/recall/graph.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

constexpr size_t kSeed = 17;

class HnswGraph : public Graph {
 public:
  HnswGraph(const Vectors& vectors, const GraphOptions& options)
      : space_(static_cast<size_t>(vectors.width)),
        breadth_(options.search_breadth),
        graph_(&space_, static_cast<size_t>(vectors.rows()), static_cast<size_t>(options.links),
               static_cast<size_t>(options.build_breadth), kSeed) {
    for (int64_t i = 0; i < vectors.rows(); ++i)
      graph_.addPoint(vectors.row(i).data(), static_cast<hnswlib::labeltype>(i));
  }

  HnswGraph(const std::filesystem::path& path, int64_t width, const GraphOptions& options)
      : space_(static_cast<size_t>(width)),
        breadth_(options.search_breadth),
        graph_(&space_, path.string()) {}

  int64_t documents() const { return static_cast<int64_t>(graph_.cur_element_count); }

  // The library writes without looking whether it could, and looks when it reads.
  void save(const std::filesystem::path& path) const override {
    graph_.saveIndex(path.string());
    try {
      hnswlib::InnerProductSpace space = space_;
      const hnswlib::HierarchicalNSW<float> written(&space, path.string());
    } catch (const std::exception& error) {
      throw Error(path.string(), fmt::format("was not written whole: {}", error.what()),
                  "Is the disk full?");
    }
  }

  std::vector<Hit> search(std::span<const float> query, int64_t k) const override {
    graph_.setEf(static_cast<size_t>(std::max<int64_t>(breadth_, k)));
    auto found = graph_.searchKnn(query.data(), static_cast<size_t>(k));
    std::vector<Hit> hits;
    for (; !found.empty(); found.pop()) {
      const auto& [distance, label] = found.top();
      hits.push_back({static_cast<int32_t>(label), 1 - distance});
    }
    std::ranges::reverse(hits);
    return hits;
  }

 private:
  hnswlib::InnerProductSpace space_;  // distance = 1 - product
  int64_t breadth_;
  mutable hnswlib::HierarchicalNSW<float> graph_;  // its interface knows no const
};

}  // namespace

std::unique_ptr<Graph> Graph::build(const Vectors& vectors, const GraphOptions& options) {
  return std::make_unique<HnswGraph>(vectors, options);
}

std::unique_ptr<Graph> Graph::load(const std::filesystem::path& path, int64_t width,
                                   int64_t documents, const GraphOptions& options) {
  std::unique_ptr<HnswGraph> graph;
  try {
    graph = std::make_unique<HnswGraph>(path, width, options);
  } catch (const std::exception& error) {
    throw Error(path.string(), fmt::format("is no graph of hnswlib: {}", error.what()),
                "Build the index again");
  }
  if (graph->documents() != documents) {
    throw Error(path.string(),
                fmt::format("holds {} documents, the index {}", graph->documents(), documents),
                "Build the index again");
  }
  return graph;
}

}  // namespace twofour::recall
