#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "twofour/base/error.h"
#include "twofour/metrics/ranking.h"

namespace twofour {
namespace {

// What a threshold decides about.
struct Decided {
  float score = 0;
  bool relevant = false;
  bool among_first_k = false;  // of its query: counts for f1@k
};

std::vector<Decided> decisions(std::span<const ScoredPair> pairs, const MetricOptions& options) {
  std::map<int32_t, std::vector<ScoredPair>> by_query;
  for (const ScoredPair& pair : pairs) by_query[pair.query].push_back(pair);
  std::vector<Decided> out;
  for (auto& [query, of_query] : by_query) {
    std::ranges::stable_sort(of_query, std::greater<>(), &ScoredPair::score);
    // Minus infinity was not found: no threshold accepts it.
    std::erase_if(of_query,
                  [](const ScoredPair& pair) { return std::isinf(pair.score) && pair.score < 0; });
    for (int64_t i = 0; i < std::ssize(of_query); ++i) {
      out.push_back(
          {of_query[i].score, of_query[i].label >= options.relevant_label, i < options.recall_k});
    }
  }
  std::ranges::stable_sort(out, std::greater<>(), &Decided::score);
  return out;
}

// Pairs accepted so far, from the highest score down.
struct Counts {
  int64_t accepted = 0, hits = 0;                 // of all pairs
  int64_t retrieved = 0, relevant_retrieved = 0;  // of those among the first k
  int64_t pairs = 0, relevant = 0;                // in all

  void accept(const Decided& pair) {
    ++accepted;
    hits += pair.relevant;
    retrieved += pair.among_first_k;
    relevant_retrieved += pair.among_first_k && pair.relevant;
  }

  double value(Criterion criterion) const {
    if (criterion == Criterion::kF1) {
      const auto both = static_cast<double>(retrieved + relevant);
      return both == 0 ? 0 : 2 * static_cast<double>(relevant_retrieved) / both;
    }
    return static_cast<double>(hits + pairs - relevant - (accepted - hits)) /
           static_cast<double>(pairs);
  }
};

}  // namespace

float best_threshold(std::span<const ScoredPair> pairs, Criterion criterion,
                     const MetricOptions& options) {
  if (std::ranges::any_of(pairs, [](const ScoredPair& p) { return std::isnan(p.score); }))
    throw Error("metrics", "a score is not a number");
  const std::vector<Decided> sorted = decisions(pairs, options);
  if (sorted.empty()) throw Error("metrics", "there are no pairs to choose a threshold on");
  Counts counts;
  counts.pairs = std::ssize(pairs);
  counts.relevant = std::ranges::count_if(
      pairs, [&](const ScoredPair& pair) { return pair.label >= options.relevant_label; });
  float best = sorted.front().score;
  double best_value = -1;
  for (size_t i = 0; i < sorted.size(); ++i) {
    counts.accept(sorted[i]);
    const bool more_at_this_score = i + 1 < sorted.size() && sorted[i + 1].score == sorted[i].score;
    if (more_at_this_score || counts.value(criterion) <= best_value) continue;
    best_value = counts.value(criterion);
    best = sorted[i].score;
  }
  return best;
}

}  // namespace twofour
