#include "apps/recall/graph.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

[[noreturn]] void refuse() {
  throw Error("recall", "this program was built without hnswlib: only exact indexes work",
              "apt-get install libhnswlib-dev, then configure and build again");
}

}  // namespace

std::unique_ptr<Graph> Graph::build(const Vectors&, const GraphOptions&) { refuse(); }

std::unique_ptr<Graph> Graph::load(const std::filesystem::path&, int64_t, int64_t,
                                   const GraphOptions&) {
  refuse();
}

}  // namespace twofour::recall
