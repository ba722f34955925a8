#include "twofour/cli/report_queries.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "twofour/base/error.h"
#include "twofour/cli/report_data.h"
#include "twofour/io/dataset.h"
#include "twofour/metrics/ranking.h"
#include "twofour/metrics/trec.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Labels and texts of the data by id.
struct Judgments {
  explicit Judgments(const fs::path& path) : data(read_dataset(path)) {
    for (const Pair& pair : data.pairs)
      labels[data.query_ids[pair.query]][data.document_ids[pair.document]] = &pair;
    for (size_t i = 0; i < data.queries.size(); ++i)
      queries.emplace(data.query_ids[i], data.queries[i]);
  }

  Dataset data;
  std::map<std::string, std::unordered_map<std::string, const Pair*>> labels;
  std::unordered_map<std::string, std::string> queries;
};

struct Ranking {
  std::map<std::string, std::vector<TrecRow>> rows;  // by query, best first
  std::map<std::string, double> ndcg;                // of queries with a positive label
};

// Queries without a row would be shown as the worst.
void check_ranked(const fs::path& path, const Ranking& ranking, const Dataset& data) {
  std::vector<std::string> lacking;
  for (const auto& [id, ndcg] : ranking.ndcg) {
    if (!ranking.rows.contains(id)) lacking.push_back(id);
  }
  if (lacking.empty()) return;
  throw Error(path.string(),
              fmt::format("lacks {} of {} queries of {} with a label above 0, the first is '{}'",
                          lacking.size(), ranking.ndcg.size(), data.origin, lacking.front()),
              "Name the data that the run was made on");
}

Ranking read_ranking(const fs::path& path, const Dataset& data) {
  const TrecRun run = read_trec_run(path);
  match_run(path, run, data);
  Ranking ranking;
  for (const TrecRow& row : run.rows) ranking.rows[row.query].push_back(row);
  for (auto& [query, rows] : ranking.rows)
    std::ranges::stable_sort(rows, std::greater<>(), &TrecRow::score);
  for (const QueryStats& stats : query_stats(pairs_of_collection_run(run, data), data.query_ids)) {
    if (stats.ndcg_defined) ranking.ndcg[stats.query_id] = stats.ndcg;
  }
  check_ranked(path, ranking, data);
  return ranking;
}

Json document_json(const TrecRow& row, const Judgments& judgments) {
  Json document = {{"id", row.document}};
  const auto query = judgments.labels.find(row.query);
  if (query == judgments.labels.end()) return document;
  const auto pair = query->second.find(row.document);
  if (pair == query->second.end()) return document;
  document["text"] = judgments.data.documents[pair->second->document];
  document["label"] = pair->second->label;
  return document;
}

Json query_json(const std::string& id, const Ranking& a, const Ranking& b,
                const Judgments& judgments, const QueryOptions& options) {
  Json json = {{"id", id},
               {"text", judgments.queries.at(id)},
               {"ndcg", {a.ndcg.at(id), b.ndcg.at(id)}},
               {"rankings", Json::array()}};
  for (const Ranking* ranking : {&a, &b}) {
    Json documents = Json::array();
    const auto rows = ranking->rows.find(id);
    if (rows != ranking->rows.end()) {
      for (const TrecRow& row : rows->second) {
        if (documents.size() < options.documents)
          documents.push_back(document_json(row, judgments));
      }
    }
    json["rankings"].push_back(std::move(documents));
  }
  return json;
}

// Indices of the first run and of the last one with a ranking.
std::pair<size_t, size_t> choose_runs(const std::vector<fs::path>& runs) {
  const auto has_ranking = [&](size_t i) { return fs::exists(result_file(runs[i], kRankingFile)); };
  size_t last = runs.size() - 1;
  while (last > 0 && !has_ranking(last)) --last;
  if (last > 0 && has_ranking(0)) return {0, last};
  const size_t lacking = has_ranking(0) ? runs.size() - 1 : 0;
  throw Error(result_file(runs[lacking], kRankingFile).string(),
              "is missing: two runs with a ranking are needed to set queries side by side",
              fmt::format("Write one with twofour eval MODEL DATA --run RUN/{}", kRankingFile));
}

}  // namespace

Json collect_queries(const std::vector<fs::path>& runs, const std::vector<std::string>& names,
                     const fs::path& data, const QueryOptions& options) {
  const auto [first, last] = choose_runs(runs);
  const Judgments judgments(data);
  const Ranking a = read_ranking(result_file(runs[first], kRankingFile), judgments.data);
  const Ranking b = read_ranking(result_file(runs[last], kRankingFile), judgments.data);
  std::vector<std::pair<double, std::string>> order;  // what b wins
  for (const auto& [id, ndcg] : a.ndcg) order.emplace_back(b.ndcg.at(id) - ndcg, id);
  if (order.empty())
    throw Error(data.string(), "no query has a label above 0",
                "Give the data that the runs were ranked on");
  std::ranges::sort(order);
  // What lost most comes first, what won most last; those between that did neither are of no kind.
  const size_t lost = std::ranges::count_if(order, [](const auto& of) { return of.first < 0; });
  const size_t won = std::ranges::count_if(order, [](const auto& of) { return of.first > 0; });
  Json json = {{"runs", {names[first], names[last]}},
               {"data", data.string()},
               {"queries", order.size()},
               {"lost", lost},
               {"won", won},
               {"worst", Json::array()},
               {"best", Json::array()}};
  const auto query = [&](size_t i) {
    return query_json(order[i].second, a, b, judgments, options);
  };
  for (size_t i = 0; i < std::min(lost, options.queries); ++i) json["worst"].push_back(query(i));
  for (size_t i = 0; i < std::min(won, options.queries); ++i)
    json["best"].push_back(query(order.size() - 1 - i));
  return json;
}

}  // namespace twofour::cli
