// Labelled query-document pairs from TSV, JSONL or BEIR files, plain or *.zst.
//
//   TSV    header line with the columns query, document, label in any order; optional query_id, document_id.
//          Without query_id, equal query texts are one query. No quoting: a tab or newline cannot stand in a field.
//   JSONL  objects with the same keys.
//   BEIR   qrels TSV with the header query-id, corpus-id, score; texts from ../queries.jsonl[.zst] and
//          ../corpus.jsonl[.zst] (keys _id, text, title).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace twofour {

struct Pair {
  int32_t query = 0;     // index into Dataset::queries
  int32_t document = 0;  // index into Dataset::documents
  float label = 0;
};

// Texts are stored once, however often they are paired. Pairs stand in file order.
struct Dataset {
  std::string origin;  // the file, for messages
  std::vector<std::string> query_ids, queries;
  std::vector<std::string> document_ids, documents;
  std::vector<Pair> pairs;
};

struct DatasetOptions {
  int64_t num_labels = 0;  // > 0: labels must be whole numbers in [0, num_labels)
};

// Throws Error with file and line number: missing columns, wrong field counts, labels that are no numbers, bytes that
// are no UTF-8, an empty file, ids that BEIR files do not define.
Dataset read_dataset(const std::filesystem::path& path, const DatasetOptions& options = {});

}  // namespace twofour
