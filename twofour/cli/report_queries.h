// The queries where two runs differ most, with both rankings, for the page of twofour report.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace twofour::cli {

// What twofour eval --run writes for the report into a run's folder.
constexpr const char* kRankingFile = "test.run.zst";

struct QueryOptions {
  size_t queries = 5;     // of either kind at most
  size_t documents = 10;  // of each ranking
};

// Compares the first run with the last one that has a ranking, by NDCG@10 on `data`:
//   {"runs": [a, b], "data", "queries": count, "lost": count, "won": count, "worst": [Q],
//   "best": [Q]}, where worst are those that lost most from a to b, best those that won most (none
//   that did not) and Q is {"id", "text", "ndcg": [a, b],
//                           "rankings": [[{"id", "text", "label"}, ...], [...]]}
// A ranked document that the data does not judge has no text and no label. `names` are those of the
// runs on the page. Throws Error: fewer than two runs with a ranking, data or rankings that are
// damaged, rankings of other data, no query with a positive label.
nlohmann::ordered_json collect_queries(const std::vector<std::filesystem::path>& runs,
                                       const std::vector<std::string>& names,
                                       const std::filesystem::path& data,
                                       const QueryOptions& options = {});

}  // namespace twofour::cli
