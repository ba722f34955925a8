// Answers queries: embeds them with an engine, searches an index, measures both.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/recall/index.h"
#include "apps/recall/texts.h"
#include "twofour/runtime/scorer.h"

namespace twofour::recall {

struct EmbedderOptions {
  int threads = 1;
  int64_t max_length = 0;  // 0: the model's
};

// A model directory with an embedding head.
class Embedder {
 public:
  // Throws Error if the model has another head, or none.
  explicit Embedder(const std::filesystem::path& model, const EmbedderOptions& options = {});

  // Rows of length 1. Thread-compatible.
  Vectors embed(const std::vector<std::string>& texts);

  const std::string& hash() const { return hash_; }

 private:
  std::string hash_;
  std::shared_ptr<const Engine> engine_;
  Scorer scorer_;
};

struct Answers {
  std::vector<std::vector<Hit>> hits;  // of each query
  double embed_seconds = 0, search_seconds = 0;

  double queries_per_second() const {
    return static_cast<double>(hits.size()) / (embed_seconds + search_seconds);
  }
};

struct SearchOptions {
  int64_t k = 345;
  int64_t block = 32;    // queries that are embedded at a time
  bool exactly = false;  // compare with every document, whatever the index is
};

Answers answer(Embedder& embedder, const Index& index, const std::vector<std::string>& queries,
               const SearchOptions& options = {});

// Share of the exact answers that these hold, over all queries: what an approximate index loses.
double share_of_exact(Embedder& embedder, const Index& index,
                      const std::vector<std::string>& queries, const Answers& answers, int64_t k);

// query Q0 document rank score tag, one line for each hit; written beside and renamed.
void write_run(const std::filesystem::path& path, const Texts& queries, const Index& index,
               const Answers& answers);

}  // namespace twofour::recall
