// Metrics of a model that predicts how well queries do: twofour eval --performance.
#pragma once

#include <filesystem>
#include <span>

#include "twofour/io/dataset.h"
#include "twofour/metrics/ranking.h"

namespace twofour::cli {

struct CostlyDelivery {
  std::filesystem::path scores;  // a score file with the ndcg of every query; empty: none
  double share = 0.5;            // of the queries get it
};

// Each pair is a query: its label is the actual performance, its score the predicted one. Metrics:
// pearson, spearman, kendall, smare, ordered_ndcg and, with a costly delivery, delivery,
// delivery_fixed and delivery_best (metrics/qpp.h); one that is not defined is absent. Throws
// Error: a query with more than one pair, or one that the score file lacks; ids that are numbers
// and a score file of more queries.
Metrics performance_metrics(std::span<const ScoredPair> pairs, const Dataset& data,
                            const CostlyDelivery& delivery);

}  // namespace twofour::cli
