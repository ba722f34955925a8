#include "twofour/metrics/ranking.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "twofour/base/error.h"
#include "twofour/metrics/concordance.h"

namespace twofour {
namespace {

constexpr const char* kWhere = "metrics";
constexpr float kHighestLabel = 1000;

void check_options(const MetricOptions& options) {
  if (options.ndcg_k < 1)
    throw Error(kWhere, fmt::format("ndcg_k is {}: must be at least 1", options.ndcg_k));
  if (options.recall_k < 1) {
    throw Error(kWhere, fmt::format("recall_k is {}: must be at least 1", options.recall_k));
  }
}

void check_pair(const ScoredPair& pair, std::span<const std::string> query_ids) {
  if (pair.query < 0 || static_cast<size_t>(pair.query) >= query_ids.size()) {
    throw Error(kWhere, fmt::format("a pair belongs to query {} but there are {} queries",
                                    pair.query, query_ids.size()));
  }
  if (std::isnan(pair.score) || std::isnan(pair.label)) {
    throw Error(kWhere,
                fmt::format("a {} of query '{}' is not a number",
                            std::isnan(pair.score) ? "score" : "label", query_ids[pair.query]));
  }
  if (pair.label > kHighestLabel) {
    throw Error(kWhere,
                fmt::format("label {} of query '{}' is above {}: its gain 2^label - 1 overflows",
                            pair.label, query_ids[pair.query], kHighestLabel),
                "Grade documents by small numbers, 0 for what is not relevant");
  }
}

double gain(float label, Gain kind) {
  if (label <= 0) return 0;
  return kind == Gain::kLinear ? label : std::exp2(static_cast<double>(label)) - 1;
}

// Discounted gain of the first k labels as they stand.
double dcg(std::span<const float> labels, const MetricOptions& options) {
  const size_t k = std::min<size_t>(labels.size(), options.ndcg_k);
  double sum = 0;
  for (size_t i = 0; i < k; ++i) sum += gain(labels[i], options.gain) / std::log2(i + 2.0);
  return sum;
}

bool is_found(const ScoredPair& pair) {
  return pair.score > -std::numeric_limits<float>::infinity();
}

void add_ndcg(std::span<const ScoredPair> ranked, const MetricOptions& options, QueryStats& out) {
  std::vector<float> labels(ranked.size());
  std::transform(ranked.begin(), ranked.end(), labels.begin(),
                 [](const auto& p) { return p.label; });
  const auto found_count = std::ranges::count_if(ranked, is_found);
  const double found = dcg(std::span(labels).first(found_count), options);
  std::sort(labels.begin(), labels.end(), std::greater<>());
  const double ideal = dcg(labels, options);
  out.ndcg_defined = ideal > 0;
  if (out.ndcg_defined) out.ndcg = found / ideal;
}

void add_concordance(std::span<const ScoredPair> pairs, QueryStats& out) {
  std::vector<double> labels, scores;
  for (const ScoredPair& pair : pairs) {
    labels.push_back(pair.label);
    scores.push_back(pair.score);
  }
  const Concordance counts = count_concordance(labels, scores);
  out.concordant = counts.concordant;
  out.discordant = counts.discordant;
  out.ties = counts.tied_y_only;
}

void add_decisions(std::span<const ScoredPair> ranked, const MetricOptions& options,
                   QueryStats& out) {
  const bool has_threshold = std::isfinite(options.score_threshold);
  for (size_t i = 0; i < ranked.size(); ++i) {
    const ScoredPair& pair = ranked[i];
    const bool has_class = pair.predicted >= 0;
    const bool relevant = pair.label >= options.relevant_label;
    const bool accepted = has_class ? pair.predicted >= options.relevant_label
                                    : pair.score >= options.score_threshold;
    const bool right = has_class ? pair.predicted == pair.label : accepted == relevant;
    const bool retrieved = accepted && is_found(pair) && i < static_cast<size_t>(options.recall_k);
    out.classified += has_class || has_threshold;
    out.correct += (has_class || has_threshold) && right;
    out.relevant += relevant;
    out.retrieved += retrieved;
    out.relevant_retrieved += relevant && retrieved;
  }
}

QueryStats stats_of_query(std::string id, std::vector<ScoredPair> pairs,
                          const MetricOptions& options) {
  QueryStats out;
  out.query_id = std::move(id);
  out.pairs = static_cast<int64_t>(pairs.size());
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  add_concordance(pairs, out);
  add_ndcg(pairs, options, out);
  add_decisions(pairs, options, out);
  return out;
}

}  // namespace

float default_relevant_label(std::span<const Pair> pairs) {
  const float label = MetricOptions().relevant_label;
  const auto is_whole = [](const Pair& pair) { return pair.label == std::floor(pair.label); };
  if (pairs.empty() || !std::ranges::all_of(pairs, is_whole)) return label;
  const float largest = std::ranges::max_element(pairs, {}, &Pair::label)->label;
  return largest > 0 ? std::min(label, largest) : label;
}

bool comparable(const MetricOptions& a, const MetricOptions& b) {
  MetricOptions same = b;
  same.score_threshold = a.score_threshold;
  return a == same;
}

std::vector<QueryStats> query_stats(std::span<const ScoredPair> pairs,
                                    std::span<const std::string> query_ids,
                                    const MetricOptions& options) {
  check_options(options);
  std::vector<std::vector<ScoredPair>> by_query(query_ids.size());
  for (const ScoredPair& pair : pairs) {
    check_pair(pair, query_ids);
    by_query[pair.query].push_back(pair);
  }
  std::vector<QueryStats> out;
  for (size_t query = 0; query < by_query.size(); ++query) {
    if (by_query[query].empty()) continue;
    out.push_back(stats_of_query(query_ids[query], std::move(by_query[query]), options));
  }
  return out;
}

}  // namespace twofour
