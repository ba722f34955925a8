#include "twofour/cli/text_input.h"

#include <fmt/format.h>
#include <unicode/ustring.h>

#include <istream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::json;

bool is_utf8(const std::string& text) {
  UErrorCode status = U_ZERO_ERROR;
  int32_t length = 0;
  u_strFromUTF8(nullptr, 0, &length, text.data(), static_cast<int32_t>(text.size()), &status);
  return status != U_INVALID_CHAR_FOUND;
}

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

TextInput::TextInput(std::istream& in, std::string origin) : in_(in), origin_(std::move(origin)) {
  if (in_.peek() == '{')
    format_ = Format::kJsonl;
  else
    read_header();
}

void TextInput::fail(const std::string& message) const {
  throw Error(fmt::format("{}:{}", origin_, line_), message);
}

bool TextInput::next_line(std::string& line) {
  if (!std::getline(in_, line)) {
    if (in_.bad()) throw Error(origin_, "cannot be read to its end");
    return false;
  }
  ++line_;
  if (line.ends_with('\r')) line.pop_back();
  if (!is_utf8(line)) fail("is not UTF-8");
  return true;
}

void TextInput::read_header() {
  std::string line;
  if (!next_line(line)) throw Error(origin_, "is empty");
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
        fmt::format("{}:1", origin_),
        fmt::format("expected a header with the columns query and document, or text; found: {}",
                    fmt::join(names, ", ")),
        "Begin with a header line, or give JSON Lines");
  }
}

InputText TextInput::parse_tsv(const std::string& line) const {
  auto fields = split_tabs(line);
  if (fields.size() != columns_)
    fail(fmt::format("has {} fields, the header {}", fields.size(), columns_));
  InputText text{std::move(fields[first_column_]), {}};
  if (second_column_ >= 0) text.second = std::move(fields[second_column_]);
  return text;
}

void TextInput::set_pairs(bool pairs) {
  if (kind_known_ && pairs != pairs_) fail("mixes single texts and pairs");
  pairs_ = pairs;
  kind_known_ = true;
}

InputText TextInput::parse_json(const std::string& line) {
  const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  const bool text = object.is_object() && object.contains("text");
  if (!text && !(object.is_object() && object.contains("query") && object.contains("document"))) {
    fail("expected a JSON object with the keys query and document, or text");
  }
  set_pairs(!text);
  try {
    if (text) return {string_of(object, "text"), {}};
    return {string_of(object, "query"), string_of(object, "document")};
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
}

std::vector<InputText> TextInput::read(size_t limit) {
  std::vector<InputText> texts;
  std::string line;
  while (texts.size() < limit && next_line(line)) {
    texts.push_back(format_ == Format::kTsv ? parse_tsv(line) : parse_json(line));
  }
  return texts;
}

Corpus read_corpus(const std::filesystem::path& path) {
  std::istringstream in(read_file(path));
  const bool json = in.peek() == '{';
  Corpus corpus;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (!json) {
      corpus.ids.push_back(std::to_string(number));
      corpus.texts.push_back(std::move(line));
      continue;
    }
    try {
      const Json object = Json::parse(line);
      const std::string title = string_of(object, "title"),
                        text = object.at("text").get<std::string>();
      corpus.ids.push_back(object.at("_id").get<std::string>());
      corpus.texts.push_back(title.empty() ? text : title + " " + text);
    } catch (const std::exception& error) {
      throw Error(fmt::format("{}:{}", path.string(), number),
                  fmt::format("expected a document with _id and text: {}", error.what()));
    }
  }
  if (corpus.texts.empty()) throw Error(path.string(), "holds no documents");
  return corpus;
}

}  // namespace twofour::cli
