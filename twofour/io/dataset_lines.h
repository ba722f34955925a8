// Lines, fields and the table that pairs are collected in: what the readers of dataset.h share.
// Private to io/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "twofour/io/dataset.h"

namespace twofour {

// The lines of a UTF-8 text, without line ends and byte order mark; empty lines are passed over.
class Lines {
 public:
  // Throws Error for bytes that are no UTF-8 and for NUL, naming the line.
  Lines(std::string_view content, std::string name);

  bool next(std::string_view& line);
  int64_t number() const { return number_; }  // of the last line, from 1
  std::string where() const;                  // "file:line" of the last line
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  std::string name_;
  int64_t number_ = 0;
};

// Fields between tabs.
void split_fields(std::string_view line, std::vector<std::string_view>& fields);

inline constexpr const char* kLabelRemedy =
    "A label is a number, such as 0, 1 or 0.5: the larger, the more relevant";

// Throws Error(where) unless `text` is a finite number.
float parse_label(std::string_view text, const std::string& where);

// One row as a file gives it. Without ids, equal texts are the same.
struct Row {
  std::string_view query, document;
  std::string_view query_id, document_id;  // used if the collector was told so
  float label = 0;
};

class PairCollector {
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

 public:
  // One side of the pairs, each text once.
  struct Texts {
    std::string kind;  // "query", "document"
    bool has_ids = false;
    std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> index;  // by id or by text
    std::vector<std::string> ids, texts;

    int32_t add(std::string_view id, std::string_view text, const std::string& where);
  };

  PairCollector(std::string origin, const DatasetOptions& options, bool query_ids,
                bool document_ids);

  void add(const Row& row, const std::string& where);
  Dataset finish();  // throws Error if there are no pairs

 private:
  void check_label(float label, const std::string& where) const;

  std::string origin_;
  DatasetOptions options_;
  Texts queries_, documents_;
  std::unordered_map<uint64_t, float> labels_;  // of the pairs so far
  std::vector<Pair> pairs_;
  int64_t repeated_ = 0;
};

}  // namespace twofour
