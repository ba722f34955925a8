// Ranking and classification metrics over queries, and their paired bootstrap.
//
// Definitions are those of the field; each name says its variant:
//   pnr        concordant / discordant over pairs of one query with different labels, counts pooled over queries.
//              Ties in score count for neither (the number of ties is reported); Paddle counts them as discordant.
//   ndcg@k     gain 2^label - 1, discount 1 / log2(rank + 1); ties in score broken by input order;
//              queries without a positive label are left out.
//   accuracy   share of pairs whose predicted label equals the label.
//   f1@k, recall@k  of the pairs with label >= threshold among the first k of each query, micro-averaged: see ranking.cc
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace twofour {

struct ScoredPair {
  int32_t query = 0;
  float label = 0;
  float score = 0;           // higher is better
  int32_t predicted = -1;    // predicted label, -1 when the model has no classes
};

// Sufficient statistics of one query: every metric is a function of sums of these, so a bootstrap resamples rows.
struct QueryStats {
  std::string query_id;
  int64_t concordant = 0, discordant = 0, ties = 0;
  int64_t pairs = 0, correct = 0;
  double ndcg_at_10 = 0;
  bool ndcg_defined = false;
  int64_t retrieved = 0, relevant = 0, relevant_retrieved = 0;  // for f1@k and recall@k
};

struct MetricOptions {
  int64_t ndcg_k = 10;
  int64_t recall_k = 345;
  float relevant_label = 2;  // label >= this is relevant for f1 and recall
};

// Metric names: "pnr", "accuracy", "ndcg@10", "f1@345", "recall@345" (k as in the options), "pnr_ties".
using Metrics = std::map<std::string, double>;

std::vector<QueryStats> query_stats(std::span<const ScoredPair> pairs, std::span<const std::string> query_ids,
                                    const MetricOptions& options = {});
Metrics aggregate(std::span<const QueryStats> queries, const MetricOptions& options = {});

struct Interval {
  double difference = 0;  // b - a
  double low = 0, high = 0;
  double relative = 0, relative_low = 0, relative_high = 0;  // (b - a) / a
};

// Percentile bootstrap over queries, both systems resampled together. Deterministic for a seed.
// Throws Error unless both lists hold the same query ids (any order).
std::map<std::string, Interval> paired_bootstrap(std::span<const QueryStats> a, std::span<const QueryStats> b,
                                                 int resamples = 10000, double confidence = 0.95,
                                                 uint64_t seed = 17, const MetricOptions& options = {});

}  // namespace twofour
