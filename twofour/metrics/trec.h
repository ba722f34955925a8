// TREC run files, compressed when their name ends in .zst.
//
//   query Q0 document rank score tag      rank from 1, best first
//
// Fields are separated by white space. Tools such as trec_eval ignore the rank and break ties in
// score by document id, so that their figures may differ from ours where scores tie.
#pragma once

#include <cstdint>
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

// The tag for a run of that dataset. Where ids are numbers, which other data has as well, the
// checksum of the pairs is part of it: "twofour-0123456789abcdef".
std::string run_tag(const Dataset& dataset);

// "`count` of `total`, the first is `first`".
struct Unmatched {
  int64_t count = 0, total = 0;
  std::string first = {};  // as messages name it
};

struct RunMatch {
  Unmatched queries = {};   // of the run: those that the dataset lacks
  Unmatched pairs = {};     // of the run for queries of the dataset, likewise
  Unmatched unranked = {};  // queries of the dataset: those without a row
};

// What run and dataset do not have in common. Throws Error(path) where the run is of other data:
// they share no query; or the dataset's ids are numbers, and the run has the tag of another
// dataset, or ids that this one lacks. Of numbers in a run with another tag nothing more can be
// known.
RunMatch match_run(const std::filesystem::path& path, const TrecRun& run, const Dataset& dataset);

// The dataset's pairs, in its order, with the run's scores as f32; no predicted labels. Throws
// Error with the number of pairs that the run does not score and the first of them.
std::vector<ScoredPair> pairs_of_run(const TrecRun& run, const Dataset& dataset);

// For a run that ranks a whole collection: documents of the run that the dataset does not judge for
// the query have label 0 and follow the judged ones; judged pairs that the run does not hold were
// not found (score minus infinity). Rows of other queries are passed over.
std::vector<ScoredPair> pairs_of_collection_run(const TrecRun& run, const Dataset& dataset);

}  // namespace twofour
