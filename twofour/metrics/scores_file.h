// Scores of one system, query by query: what a later comparison needs, without the model.
//
// JSON Lines, compressed when the name ends in .zst. The first line names format, system and
// options, each further line is one query's QueryStats.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "twofour/metrics/ranking.h"

namespace twofour {

struct QueryScores {
  std::string system;
  MetricOptions options = {};
  std::vector<QueryStats> queries = {};
  // Of rankings of a whole collection: systems find different pairs of a query, of which as many
  // are relevant.
  bool collection = false;
  std::string data_checksum = {};  // pairs_checksum; empty: unknown, as in older and pooled files

  bool operator==(const QueryScores&) const = default;
};

// Written atomically; what is read back equals what was written, bit for bit, but for bytes of the
// system's name that are no UTF-8. Throws Error naming the file, also if a query id is not UTF-8.
void write_scores_file(const std::filesystem::path& path, const QueryScores& scores);

// Throws Error with file and line: a result of eval --out, another format or version, missing or
// mistyped keys, counts that contradict each other, a query that stands twice, no queries.
QueryScores read_scores_file(const std::filesystem::path& path);

// Throws Error naming both files, and the query where there is one, unless they tell of the same
// pairs: other metric options, a query that one of them lacks, other pairs or labels of a query,
// another checksum where both have one.
void check_comparable(const std::filesystem::path& a_file, const QueryScores& a,
                      const std::filesystem::path& b_file, const QueryScores& b);

// One system's scores over different queries, such as the folds of a cross-validation, as one,
// without checksum: a file may hold some of its data's queries alone. Throws Error naming the file:
// other metric options than the first, a query of an earlier file, no files.
QueryScores pool_scores_files(const std::vector<std::filesystem::path>& paths);

}  // namespace twofour
