#include "twofour/cli/lexical_candidates.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>
#include <set>

namespace twofour::cli {
namespace {

constexpr double kK1 = 1.2, kB = 0.75;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = byte >= 128 || std::isalnum(byte) != 0;
    if (letter && !inside) words.emplace_back();
    if (letter) words.back() += static_cast<char>(byte < 128 ? std::tolower(byte) : byte);
    inside = letter;
  }
  return words;
}

}  // namespace

LexicalIndex::LexicalIndex(std::span<const std::string> documents) {
  for (const std::string& text : documents) {
    const auto document = static_cast<int32_t>(lengths_.size());
    const auto words = words_of(text);
    lengths_.push_back(static_cast<int32_t>(words.size()));
    for (const std::string& word : words) {
      auto& list = postings_[word];
      if (list.empty() || list.back().document != document) list.push_back({document, 0});
      ++list.back().occurrences;
    }
  }
  const double total = std::accumulate(lengths_.begin(), lengths_.end(), 0.0);
  mean_length_ = lengths_.empty() ? 0 : total / static_cast<double>(lengths_.size());
}

std::vector<int32_t> LexicalIndex::best(std::string_view query, int64_t count) const {
  std::unordered_map<int32_t, double> scores;
  const auto words = words_of(query);
  for (const std::string& word : std::set<std::string>(words.begin(), words.end())) {
    const auto found = postings_.find(word);
    if (found == postings_.end()) continue;
    const auto holding = static_cast<double>(found->second.size());
    const double rarity =
        std::log(1 + (static_cast<double>(lengths_.size()) - holding + 0.5) / (holding + 0.5));
    for (const Posting& posting : found->second) {
      const double f = posting.occurrences;
      const double norm = 1 - kB + kB * lengths_[posting.document] / mean_length_;
      scores[posting.document] += rarity * f * (kK1 + 1) / (f + kK1 * norm);
    }
  }
  std::vector<std::pair<double, int32_t>>
      ranked;  // negated score, so that plain order is best first
  for (const auto& [document, score] : scores) ranked.emplace_back(-score, document);
  const size_t kept = std::min(ranked.size(), static_cast<size_t>(count));
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(kept),
                    ranked.end());
  std::vector<int32_t> documents;
  for (size_t i = 0; i < kept; ++i) documents.push_back(ranked[i].second);
  return documents;
}

}  // namespace twofour::cli
