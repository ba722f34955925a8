// TREC run files, compressed when their name ends in .zst.
//
//   query Q0 document rank score tag      rank from 1, best first
//
// Fields are separated by white space. Tools such as trec_eval ignore the rank and break ties in
// score by document id, so that their figures may differ from ours where scores tie.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "twofour/io/dataset.h"
#include "twofour/metrics/ranking.h"

namespace twofour {

struct TrecRow {
  std::string query, document;
  double score = 0;

  bool operator==(const TrecRow&) const = default;
};

struct TrecRun {
  std::string tag;
  std::vector<TrecRow> rows;

  bool operator==(const TrecRun&) const = default;
};

// Queries in order of their first row; within one, rows by falling score, ties in the order given.
// Written atomically. Throws Error for ids or a tag that are empty or hold white space, scores that
// are not finite, a document that stands twice under a query.
void write_trec_run(const std::filesystem::path& path, const TrecRun& run);

// Rows as they stand; the tag is that of the first row. Throws Error with file and line.
TrecRun read_trec_run(const std::filesystem::path& path);

// The dataset's pairs, in its order, with the run's scores as f32; no predicted labels. Throws
// Error naming the first pair that the run does not score.
std::vector<ScoredPair> pairs_of_run(const TrecRun& run, const Dataset& dataset);

// For a run that ranks a whole collection: documents of the run that the dataset does not judge for
// the query have label 0 and follow the judged ones; judged pairs that the run does not hold were
// not found (score minus infinity). Rows of other queries are passed over.
std::vector<ScoredPair> pairs_of_collection_run(const TrecRun& run, const Dataset& dataset);

}  // namespace twofour
