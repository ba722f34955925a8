// Ranking and classification metrics over queries, and their paired bootstrap.
//
// Definitions are those of the field; each name says its variant:
//   pnr       concordant / discordant over pairs of one query with different labels, counts pooled
//             over queries. Ties in score count for neither ("pnr_ties" is their number); Paddle
//             counts them as discordant. Infinite when nothing is discordant.
//   ndcg@k    gain 2^label - 1 (or the label itself), discount log2(rank + 1), ties in score broken
//             by input order; mean over queries, without those that have no positive label. The
//             ideal ranking is that of the query's own pairs.
//   accuracy  share of pairs whose predicted label equals the label; for a model without classes
//             and with a score_threshold, share of pairs that it calls relevant or not as the
//             label does.
//   recall@k, f1@k
//             A pair is relevant when its label >= relevant_label. It is retrieved when it stands
//             among the first k of its query by score (ties by input order) and the model calls it
//             relevant: predicted >= relevant_label or, for a model without classes, score >=
//             score_threshold. Counts are pooled over queries (micro-average):
//             recall = hits / relevant, f1 = 2 hits / (retrieved + relevant).
//             So a list shorter than k does not make recall 1: the model's decisions count.
//             A score of minus infinity says that the pair was not found: it is never retrieved and
//             adds nothing to the ndcg of its ranking, though it is part of the ideal one.
// A metric that is not defined on the data (accuracy without predicted labels, ndcg without a
// positive label, ...) is absent from the results.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "twofour/io/dataset.h"

namespace twofour {

struct ScoredPair {
  int32_t query = 0;
  float label = 0;
  float score = 0;         // higher is better; f32 as models give it; equal as f32 is a tie
  int32_t predicted = -1;  // predicted label, -1 when the model has no classes
};

// Sufficient statistics of one query: every metric is a function of sums of these, so a bootstrap
// resamples rows.
struct QueryStats {
  std::string query_id = {};
  int64_t concordant = 0, discordant = 0, ties = 0;  // of pairs with different labels
  int64_t pairs = 0;
  int64_t classified = 0, correct = 0;  // pairs with a prediction; those where it is right
  double ndcg = 0;                      // at MetricOptions::ndcg_k
  bool ndcg_defined = false;
  int64_t retrieved = 0, relevant = 0, relevant_retrieved = 0;  // for f1@k and recall@k

  bool operator==(const QueryStats&) const = default;
};

enum class Gain {
  kExponential,
  kLinear
};  // 2^label - 1, or the label; negative labels gain nothing

struct MetricOptions {
  int64_t ndcg_k = 10;
  int64_t recall_k = 345;
  float relevant_label = 2;  // label >= this is relevant for f1 and recall
  float score_threshold = -std::numeric_limits<float>::infinity();  // for models without classes
  Gain gain = Gain::kExponential;

  bool operator==(const MetricOptions&) const = default;
};

// The relevant_label where nobody says otherwise: 2, or 1 where that is the largest label and all
// are whole numbers. Of degrees between, the largest alone would be relevant.
float default_relevant_label(std::span<const Pair> pairs);

// Whether evaluations with these options measure the same. A threshold belongs to the system that
// was evaluated, not to the measure.
bool comparable(const MetricOptions& a, const MetricOptions& b);

// Metric names: "pnr", "pnr_ties", "accuracy", "ndcg@10", "f1@345", "recall@345" (k as in the
// options).
using Metrics = std::map<std::string, double>;

enum class Criterion { kAccuracy, kF1 };

// The score_threshold with the highest accuracy, or f1@k, on these pairs of a model without
// classes; of several the highest. It is one of the scores. Throws Error for scores that are NaN,
// and where no pair was found.
float best_threshold(std::span<const ScoredPair> pairs, Criterion criterion,
                     const MetricOptions& options = {});

// One row for each query that has pairs, in the order of query_ids; pairs may come in any order of
// queries. Throws Error for a query index outside query_ids, scores or labels that are NaN, labels
// whose gain overflows, k < 1.
std::vector<QueryStats> query_stats(std::span<const ScoredPair> pairs,
                                    std::span<const std::string> query_ids,
                                    const MetricOptions& options = {});

// The rows must come from query_stats with the same options, which here only name the metrics.
Metrics aggregate(std::span<const QueryStats> queries, const MetricOptions& options = {});

struct Interval {
  double difference = 0;  // b - a
  double low = 0, high = 0;
  double relative = 0, relative_low = 0, relative_high = 0;  // (b - a) / a; -1 below an infinite a
};

// Percentile bootstrap over queries, both systems resampled together; ratios are computed anew from
// the resampled sums. Deterministic for a seed, on every machine and in any order of the rows.
// Covers the metrics that both systems define; a resample that does not define one counts for the
// others only. Throws Error unless both lists hold the same query ids, each once, in any order.
std::map<std::string, Interval> paired_bootstrap(std::span<const QueryStats> a,
                                                 std::span<const QueryStats> b,
                                                 int resamples = 10000, double confidence = 0.95,
                                                 uint64_t seed = 17,
                                                 const MetricOptions& options = {});

}  // namespace twofour
