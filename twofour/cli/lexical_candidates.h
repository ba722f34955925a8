// BM25 over a corpus: which documents a cross-encoder looks at when it answers a query.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace twofour::cli {

// Words are runs of ASCII letters, digits and bytes above 127, in lower case. k1 1.2, b 0.75.
// Source: Robertson & Zaragoza 2009, The Probabilistic Relevance Framework.
class LexicalIndex {
 public:
  explicit LexicalIndex(std::span<const std::string> documents);

  // The `count` best documents that share a word with the query, best first, ties by position.
  std::vector<int32_t> best(std::string_view query, int64_t count) const;

 private:
  struct Posting {
    int32_t document = 0;
    int32_t occurrences = 0;
  };

  std::unordered_map<std::string, std::vector<Posting>> postings_;
  std::vector<int32_t> lengths_;  // in words
  double mean_length_ = 0;
};

}  // namespace twofour::cli
