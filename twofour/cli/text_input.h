// Reads what predict takes: texts or pairs of texts, line by line.
//
//   TSV    a header with the columns query and document, or text; other columns are ignored
//   JSONL  objects with the same keys, when the first character is '{'
//
// UTF-8; a byte order mark, CRLF, empty lines and blank ones before the header are tolerated.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace twofour::cli {

inline constexpr const char* kUtf8Remedy = "Convert it to UTF-8, for example with iconv";

struct InputText {
  std::string first, second = {};  // second is unused when the input holds single texts
  int64_t line = 0;
};

bool is_blank(std::string_view line);  // nothing, or blanks and tabs

class TextInput {
 public:
  enum class Format { kTsv, kJsonl };

  // `origin` names the input in errors. Reads the header. Throws Error.
  TextInput(std::istream& in, std::string origin);

  Format format() const { return format_; }
  // What the input holds; of JSON Lines known after the first read.
  bool pairs() const { return pairs_; }

  // Up to `limit` further texts; empty at the end. Throws Error with the line's number.
  std::vector<InputText> read(size_t limit);

  std::string where(int64_t line) const;  // "origin:line"

 private:
  bool next_line(std::string& line);
  InputText parse_tsv(const std::string& line) const;
  InputText parse_json(const std::string& line);
  void set_pairs(bool pairs);  // throws Error if an earlier line was of the other kind
  [[noreturn]] void fail(const std::string& message, const char* remedy) const;
  [[noreturn]] void fail_as_no_text(const std::string& line) const;
  void read_header(const std::string& line);

  std::istream& in_;
  std::string origin_;
  Format format_ = Format::kTsv;
  int64_t line_ = 0;
  std::string line_ahead_;  // read to find out the format
  bool has_line_ahead_ = false;
  size_t columns_ = 0;
  int first_column_ = -1, second_column_ = -1;
  bool pairs_ = false, kind_known_ = false;
};

}  // namespace twofour::cli
