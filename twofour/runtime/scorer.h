// Texts in, scores or embeddings out: tokenizer + session + what a head's output means.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "twofour/graph/head.h"
#include "twofour/runtime/engine.h"

namespace twofour {

struct TextPair {
  std::string_view first;
  std::optional<std::string_view> second = std::nullopt;  // absent: a single text
};

struct ScorerOptions {
  int threads = 1;
  // 0: the model's. Otherwise no more than that, and at least a token of each text (3; of pairs 5).
  int64_t max_length = 0;
  // Texts are sorted by length inside a call and run in batches of about so many.
  int64_t tokens_per_batch = 4096;
};

// Not thread-safe: one call at a time; scorers of one engine run beside each other. Texts are
// UTF-8 (other bytes count as no text) and are cut to the length; an empty one is the special
// tokens alone.
class TWOFOUR_API Scorer {
 public:
  // `engine` is not null; the scorer keeps it. Throws Error: a model without a head, or one that
  // classifies tokens; a max_length that the model cannot read or that leaves no text;
  // tokens_per_batch below 1; what Session throws.
  explicit Scorer(std::shared_ptr<const Engine> engine, const ScorerOptions& options = {});
  ~Scorer();

  // Output rows [pairs, output_width] in input order: logits, or embeddings. Throws Error: a model
  // without a tokenizer, pairs where max_length leaves no token of each text.
  std::vector<float> run(std::span<const TextPair> pairs);
  // By score_from_output(), in input order. Throws Error as run() does, and for a model without a
  // classification head.
  std::vector<Score> score(std::span<const TextPair> pairs);

 private:
  struct __attribute__((visibility("hidden"))) State;
  std::unique_ptr<State> state_;
};

}  // namespace twofour
