// Labelled query-document pairs from TSV, JSONL or BEIR files, plain or *.zst.
//
// clang-format off
//   TSV    header line with the columns query, document, label in any order; optional query_id,
//          document_id; others are skipped. Without query_id, equal query texts are one query. No
//          quoting: a tab or newline cannot stand in a field.
//   JSONL  objects with the same keys; the first line says whether ids are given.
//   BEIR   qrels TSV with the header query-id, corpus-id, score; texts from ../queries.jsonl[.zst]
//          and ../corpus.jsonl[.zst] (keys _id, text, title: "title text"). Texts that no line
//          refers to are left out.
// clang-format on
//
// All are UTF-8; a byte order mark, CRLF and empty lines are tolerated.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

struct Pair {
  int32_t query = 0;     // index into Dataset::queries
  int32_t document = 0;  // index into Dataset::documents
  float label = 0;
};

// Texts are stored once, however often they are paired, in the order of their first pair. Pairs
// stand in file order; a pair that repeats with the same label stands once.
struct Dataset {
  std::string origin;                           // the file, for messages
  std::vector<std::string> query_ids, queries;  // ids are "q1", "q2", ... where the file gives none
  std::vector<std::string> document_ids, documents;  // "d1", "d2", ... likewise
  std::vector<Pair> pairs;
  bool queries_numbered = false, documents_numbered = false;  // ids are such numbers
  int64_t repeated_pairs = 0;                                 // lines that repeat a pair
};

struct DatasetOptions {
  int64_t num_labels = 0;  // > 0: labels must be whole numbers in [0, num_labels)
  // For messages: what has so many labels ("model/config.json"), and what to do besides correcting
  // the label.
  std::string labels_of = "the model";
  std::string remedy = "take a model with as many labels as the data";
  // False: a pair may lack its label, which is 0 then; for what reads texts alone.
  bool need_labels = true;
};

// Throws Error with file and line number: missing columns, wrong field counts, labels that are no
// finite numbers, bytes that are no UTF-8, empty texts, an empty file, one id with two texts, a
// pair with two labels, ids that BEIR files do not define.
Dataset read_dataset(const std::filesystem::path& path, const DatasetOptions& options = {});

// The same for the content of a TSV or JSONL file in memory; `name` stands for the file in
// messages.
Dataset parse_dataset(std::string_view content, const std::string& name,
                      const DatasetOptions& options = {});

// The same for the contents of the three BEIR files.
struct BeirFile {
  std::string_view content;
  std::string name;
};
Dataset parse_beir(const BeirFile& qrels, const BeirFile& queries, const BeirFile& corpus,
                   const DatasetOptions& options = {});

// Of ids and labels, and of texts where ids are numbers: those alone are the same in other data. 16
// hexadecimal digits, whatever the order of pairs with ids of their own; numbers go by place, so
// that it is another one for the same pairs in another order.
std::string pairs_checksum(const Dataset& data);

// For a log: how many pairs repeat others; empty where none does.
std::string repeated_pairs_note(const Dataset& data);

struct Corpus {
  std::vector<std::string> ids, texts;
};

// All documents of a BEIR corpus, of a TSV file whose header has the column document, or text (each
// of them once, since pairs repeat them; document_id if there is one, or d1, d2, ...), or of a file
// with one a line: their ids are line numbers. Throws Error with file and line number, also for an
// id that stands twice in a corpus, or for two texts, and for a file *.tsv whose first line has
// tabs and neither column.
Corpus read_corpus(const std::filesystem::path& path);

// For what learns from texts alone: a file with pairs as read_dataset, or one with texts as
// read_corpus; these are the documents of a dataset without queries and pairs.
Dataset read_texts(const std::filesystem::path& path);

}  // namespace twofour
