// Relevance of pairs of texts by any head: a cross-encoder's score, or the product of two
// embeddings. All are finite: NaN cannot be ranked, nor written as JSON.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/io/dataset.h"
#include "twofour/runtime/scorer.h"

namespace twofour::cli {

class PairScoring {
 public:
  // Called with the number of texts or pairs done and their total.
  using OnBlock = std::function<void(int64_t done, int64_t total)>;
  // Names a text or pair in errors, by its index: "pairs.tsv:17".
  using Where = std::function<std::string(size_t index)>;

  // Throws Error if the model, of which `model` is the name, has no head to score with. The others
  // throw it if the model gives an infinity or NaN.
  PairScoring(const std::filesystem::path& model, std::shared_ptr<const Engine> engine,
              const ScorerOptions& options);

  bool embeds() const { return config_.head == HeadKind::kEmbedding; }
  int64_t width() const { return width_; }
  bool has_classes() const {
    return config_.head == HeadKind::kClassification && config_.num_labels > 1;
  }

  std::vector<Score> score(std::span<const TextPair> pairs, const Where& where);

  // The data set's pairs in its order; an embedding head sees each text once.
  std::vector<Score> score(const Dataset& data, const OnBlock& on_block);

  // One query against all documents. `embeddings` are those of the documents, from embed(); empty
  // for cross-encoders.
  std::vector<Score> score_query(std::string_view query, std::span<const std::string> documents,
                                 std::span<const float> embeddings, const Where& where,
                                 const OnBlock& on_block);

  // Rows [texts, width].
  std::vector<float> embed(std::span<const std::string> texts, const Where& where,
                           const OnBlock& on_block);

 private:
  // Scorer's, checked; `first` is the index of the first one.
  std::vector<Score> score_finite(std::span<const TextPair> pairs, const Where& where,
                                  size_t first);
  std::vector<float> run_finite(std::span<const TextPair> texts, const Where& where, size_t first);
  float product(std::span<const float> a, int64_t row_a, std::span<const float> b,
                int64_t row_b) const;

  ModelConfig config_;
  int64_t width_;
  Scorer scorer_;
};

}  // namespace twofour::cli
