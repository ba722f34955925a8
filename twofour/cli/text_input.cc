#include "twofour/cli/text_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <nlohmann/json.hpp>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/cli/format.h"
#include "twofour/io/json.h"
#include "twofour/io/utf8.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::json;

constexpr const char* kRemedy = "Begin with a header line, or give JSON Lines";

std::vector<std::string> split_tabs(const std::string& line) {
  std::vector<std::string> fields;
  for (size_t begin = 0;;) {
    const size_t end = line.find('\t', begin);
    fields.push_back(line.substr(begin, end - begin));
    if (end == std::string::npos) return fields;
    begin = end + 1;
  }
}

std::string string_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (!found->is_string()) throw std::invalid_argument(fmt::format("{} is not a string", key));
  return found->get<std::string>();
}

}  // namespace

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t") == std::string_view::npos;
}

TextInput::TextInput(std::istream& in, std::string origin) : in_(in), origin_(std::move(origin)) {
  do {
    if (!next_line(line_ahead_)) throw Error(origin_, "is empty", kRemedy);
  } while (is_blank(line_ahead_));
  if (line_ahead_.starts_with('{')) {
    format_ = Format::kJsonl;
    has_line_ahead_ = true;
  } else {
    read_header(line_ahead_);
  }
}

void TextInput::fail(const std::string& message, const char* remedy) const {
  throw Error(where(line_), message, remedy);
}

void TextInput::fail_as_no_text(const std::string& line) const {
  if (const auto other = recognize_no_text(line)) fail(other->what, other->remedy);
  fail("is not UTF-8 text", kUtf8Remedy);
}

std::string TextInput::where(int64_t line) const { return fmt::format("{}:{}", origin_, line); }

bool TextInput::next_line(std::string& line) {
  if (std::exchange(has_line_ahead_, false)) {
    line = std::move(line_ahead_);
    return true;
  }
  while (std::getline(in_, line)) {
    if (++line_ == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.ends_with('\r')) line.pop_back();
    if (first_bad_byte(line) != line.size()) fail_as_no_text(line);
    if (!line.empty()) return true;
  }
  if (in_.bad()) throw Error(origin_, "cannot be read to its end");
  return false;
}

void TextInput::read_header(const std::string& line) {
  const auto names = split_tabs(line);
  columns_ = names.size();
  const auto column = [&](std::string_view name) {
    const auto found = std::find(names.begin(), names.end(), name);
    return found == names.end() ? -1 : static_cast<int>(found - names.begin());
  };
  first_column_ = column("query");
  second_column_ = column("document");
  if (first_column_ >= 0 && second_column_ >= 0) return set_pairs(true);
  first_column_ = column("text");
  second_column_ = -1;
  set_pairs(false);
  if (first_column_ < 0) {
    throw Error(
        where(line_),
        fmt::format("expected a header with the columns query and document, or text; found: {}",
                    fmt::join(names, ", ")),
        kRemedy);
  }
}

InputText TextInput::parse_tsv(const std::string& line) const {
  auto fields = split_tabs(line);
  if (fields.size() != columns_) {
    fail(fmt::format("has another number of fields than the header: {}, expected {}", fields.size(),
                     columns_),
         "Fields are separated by single tabs and hold none");
  }
  InputText text{std::move(fields[first_column_])};
  if (second_column_ >= 0) text.second = std::move(fields[second_column_]);
  return text;
}

void TextInput::set_pairs(bool pairs) {
  if (kind_known_ && pairs != pairs_)
    fail("mixes single texts and pairs", "Give them as two inputs");
  pairs_ = pairs;
  kind_known_ = true;
}

InputText TextInput::parse_json(const std::string& line) {
  const Json object = twofour::parse_json(line, where(line_));
  const bool text = object.is_object() && object.contains("text");
  if (!text && !(object.is_object() && object.contains("query") && object.contains("document"))) {
    fail("expected a JSON object with the keys query and document, or text",
         "Write one such object in each line");
  }
  set_pairs(!text);
  try {
    if (text) return {string_of(object, "text")};
    return {string_of(object, "query"), string_of(object, "document")};
  } catch (const std::invalid_argument& error) {
    fail(error.what(), "Give it a text in double quotes, which may be empty");
  }
}

std::vector<InputText> TextInput::read(size_t limit) {
  std::vector<InputText> texts;
  std::string line;
  while (texts.size() < limit && next_line(line)) {
    texts.push_back(format_ == Format::kTsv ? parse_tsv(line) : parse_json(line));
    texts.back().line = line_;
  }
  return texts;
}

}  // namespace twofour::cli
