#include "apps/recall/retrieval.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "apps/recall/model_hash.h"
#include "apps/speed.h"
#include "apps/whole_file.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

std::shared_ptr<const Engine> load(const std::filesystem::path& model) {
  auto engine = Engine::load(model);
  if (engine->config().head != HeadKind::kEmbedding) {
    throw Error(model.string(), "has no embedding head, so that it cannot be searched with",
                "Train one with apps/recall/recipes/dense.yaml");
  }
  return engine;
}

}  // namespace

Embedder::Embedder(const std::filesystem::path& model, const EmbedderOptions& options)
    : hash_(model_hash(model)),
      engine_(load(model)),
      scorer_(engine_, {.threads = options.threads, .max_length = options.max_length}) {}

Vectors Embedder::embed(const std::vector<std::string>& texts) {
  std::vector<TextPair> singles;
  for (const std::string& text : texts) singles.push_back({text});
  Vectors vectors{engine_->output_width(), scorer_.run(singles)};
  normalize(vectors);
  return vectors;
}

Answers answer(Embedder& embedder, const Index& index, const std::vector<std::string>& queries,
               const SearchOptions& options) {
  Answers answers;
  const auto block = static_cast<size_t>(options.block);
  for (size_t begin = 0; begin < queries.size(); begin += block) {
    const auto first = queries.begin() + static_cast<ptrdiff_t>(begin);
    const auto count = static_cast<ptrdiff_t>(std::min(block, queries.size() - begin));
    Vectors vectors;
    answers.embed_seconds += seconds_of([&] { vectors = embedder.embed({first, first + count}); });
    answers.search_seconds += seconds_of([&] {
      for (int64_t i = 0; i < vectors.rows(); ++i) {
        answers.hits.push_back(options.exactly ? index.search_exactly(vectors.row(i), options.k)
                                               : index.search(vectors.row(i), options.k));
      }
    });
  }
  return answers;
}

double share_of_exact(Embedder& embedder, const Index& index,
                      const std::vector<std::string>& queries, const Answers& answers, int64_t k) {
  const Vectors vectors = embedder.embed(queries);
  int64_t expected = 0, found = 0;
  for (int64_t i = 0; i < vectors.rows(); ++i) {
    std::unordered_set<int32_t> hits;
    for (const Hit& hit : answers.hits[static_cast<size_t>(i)]) hits.insert(hit.document);
    for (const Hit& hit : index.search_exactly(vectors.row(i), k)) {
      ++expected;
      found += hits.contains(hit.document);
    }
  }
  return static_cast<double>(found) / static_cast<double>(expected);
}

void write_run(const std::filesystem::path& path, const Texts& queries, const Index& index,
               const Answers& answers) {
  write_whole_file(path, [&](std::ostream& out) {
    for (size_t i = 0; i < answers.hits.size(); ++i) {
      int rank = 0;
      for (const Hit& hit : answers.hits[i]) {
        out << fmt::format("{} Q0 {} {} {} recall\n", queries.ids[i],
                           index.ids()[static_cast<size_t>(hit.document)], ++rank, hit.score);
      }
    }
  });
}

}  // namespace twofour::recall
