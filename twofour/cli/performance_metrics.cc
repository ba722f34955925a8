#include "twofour/cli/performance_metrics.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "twofour/base/error.h"
#include "twofour/metrics/qpp.h"
#include "twofour/metrics/scores_file.h"

namespace twofour::cli {
namespace {

// In the order of the data.
struct Performance {
  std::vector<double> predicted, actual;
  std::vector<std::string> queries;
};

Performance performance_of(std::span<const ScoredPair> pairs, const Dataset& data) {
  Performance performance;
  std::set<int32_t> seen;
  for (const ScoredPair& pair : pairs) {
    const std::string& query = data.query_ids[pair.query];
    if (!seen.insert(pair.query).second) {
      throw Error(data.origin, fmt::format("query '{}' has more than one row", query),
                  "With --performance every query has one row, whose label says how well it does");
    }
    performance.predicted.push_back(pair.score);
    performance.actual.push_back(pair.label);
    performance.queries.push_back(query);
  }
  return performance;
}

// Numbers of queries are the same in a file of more queries, which it may have.
void check_numbers(const std::filesystem::path& path, const QueryScores& scores,
                   const Dataset& data) {
  if (!data.queries_numbered || scores.queries.size() == data.queries.size()) return;
  throw Error(
      path.string(),
      fmt::format("has scores of {} queries, but {}, where ids are numbers by place, has {}",
                  scores.queries.size(), data.origin, data.queries.size()),
      "Give queries ids (query_id)");
}

std::vector<double> ndcg_of(const std::filesystem::path& path,
                            const std::vector<std::string>& queries, const Dataset& data) {
  const QueryScores scores = read_scores_file(path);
  std::map<std::string, double> ndcg;
  for (const QueryStats& stats : scores.queries) {
    if (stats.ndcg_defined) ndcg[stats.query_id] = stats.ndcg;
  }
  std::vector<double> out;
  for (const std::string& query : queries) {
    const auto found = ndcg.find(query);
    if (found == ndcg.end())
      throw Error(path.string(), fmt::format("has no ndcg of query '{}'", query));
    out.push_back(found->second);
  }
  check_numbers(path, scores, data);
  return out;
}

}  // namespace

Metrics performance_metrics(std::span<const ScoredPair> pairs, const Dataset& data,
                            const CostlyDelivery& costly) {
  const auto [predicted, actual, queries] = performance_of(pairs, data);
  Metrics metrics = {{"pearson", pearson(predicted, actual)},
                     {"spearman", spearman(predicted, actual)},
                     {"kendall", kendall(predicted, actual)},
                     {"smare", smare(predicted, actual)},
                     {"ordered_ndcg", ordered_ndcg(predicted, actual)}};
  if (!costly.scores.empty()) {
    const Delivery delivery =
        delivery_gain(predicted, actual, ndcg_of(costly.scores, queries, data), costly.share);
    metrics["delivery"] = delivery.predicted;
    metrics["delivery_fixed"] = delivery.fixed;
    metrics["delivery_best"] = delivery.best;
  }
  std::erase_if(metrics, [](const auto& metric) { return std::isnan(metric.second); });
  return metrics;
}

}  // namespace twofour::cli
