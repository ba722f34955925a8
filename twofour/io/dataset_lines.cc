#include "twofour/io/dataset_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "twofour/base/error.h"
#include "twofour/io/utf8.h"

namespace twofour {
namespace {

std::string at_line(const std::string& name, int64_t line) {
  return fmt::format("{}:{}", name, line);
}

void check_encoding(std::string_view text, const std::string& name) {
  const size_t bad = first_bad_byte(text);
  if (bad == text.size()) return;
  const int64_t line = 1 + std::count(text.begin(), text.begin() + static_cast<int64_t>(bad), '\n');
  if (const auto other = recognize_no_text(text))
    throw Error(at_line(name, line), other->what, other->remedy);
  throw Error(at_line(name, line),
              fmt::format("byte 0x{:02x} at offset {} is no UTF-8 text",
                          static_cast<unsigned char>(text[bad]), bad),
              "Convert the file to UTF-8, for example with iconv");
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r") == text.npos; }

}  // namespace

Lines::Lines(std::string_view content, std::string name) : rest_(content), name_(std::move(name)) {
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
  check_encoding(rest_, name_);
}

bool Lines::next(std::string_view& line) {
  while (!rest_.empty()) {
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    ++number_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) return true;
  }
  return false;
}

std::string Lines::where() const { return at_line(name_, number_); }

void split_fields(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  while (true) {
    const size_t end = line.find('\t');
    fields.push_back(line.substr(0, end));
    if (end == line.npos) return;
    line.remove_prefix(end + 1);
  }
}

float parse_label(std::string_view text, const std::string& where) {
  float label = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
  const bool complete = error == std::errc() && end == text.data() + text.size();
  if (complete && std::isfinite(label)) return label;
  throw Error(where, fmt::format("label \"{}\" is no number", text), kLabelRemedy);
}

PairCollector::PairCollector(std::string origin, const DatasetOptions& options, bool query_ids,
                             bool document_ids)
    : origin_(std::move(origin)), options_(options) {
  queries_.kind = "query";
  queries_.has_ids = query_ids;
  documents_.kind = "document";
  documents_.has_ids = document_ids;
}

int32_t PairCollector::Texts::add(std::string_view id, std::string_view text,
                                  const std::string& where) {
  if (is_blank(text)) {
    throw Error(where, fmt::format("the {} is empty", kind), "Give it a text, or remove the line");
  }
  if (has_ids && is_blank(id)) {
    throw Error(where, fmt::format("the {}'s id is empty", kind),
                "Give it an id, or leave ids out of the whole file");
  }
  const std::string_view key = has_ids ? id : text;
  const auto known = index.find(key);
  if (known == index.end()) {
    const auto position = static_cast<int32_t>(texts.size());
    index.emplace(key, position);
    ids.push_back(has_ids ? std::string(id) : fmt::format("{}{}", kind[0], position + 1));
    texts.emplace_back(text);
    return position;
  }
  if (texts[known->second] != text) {
    throw Error(where, fmt::format("{} id \"{}\" stood for another text before", kind, id),
                "Give each text an id of its own");
  }
  return known->second;
}

void PairCollector::check_label(float label, const std::string& where) const {
  if (options_.num_labels == 0) return;
  if (label == std::floor(label) && label >= 0 && label < static_cast<float>(options_.num_labels)) {
    return;
  }
  throw Error(where,
              fmt::format("label {} is no whole number from 0 to {}: {} has num_labels {}", label,
                          options_.num_labels - 1, options_.labels_of, options_.num_labels),
              fmt::format("Correct the label, or {}", options_.remedy));
}

void PairCollector::add(const Row& row, const std::string& where) {
  check_label(row.label, where);
  const int32_t query = queries_.add(row.query_id, row.query, where);
  const int32_t document = documents_.add(row.document_id, row.document, where);
  const uint64_t key = static_cast<uint64_t>(query) << 32 | static_cast<uint32_t>(document);
  const auto [known, is_new] = labels_.emplace(key, row.label);
  if (is_new) {
    pairs_.push_back({query, document, row.label});
  } else if (known->second != row.label) {
    throw Error(where,
                fmt::format("this query and document had label {} before, now {}", known->second,
                            row.label),
                "Keep one of the two lines");
  } else {
    ++repeated_;
  }
}

Dataset PairCollector::finish() {
  if (pairs_.empty()) {
    throw Error(origin_, "holds no pairs", "A line for each pair follows the header");
  }
  return {std::move(origin_),        std::move(queries_.ids),     std::move(queries_.texts),
          std::move(documents_.ids), std::move(documents_.texts), std::move(pairs_),
          !queries_.has_ids,         !documents_.has_ids,         repeated_};
}

}  // namespace twofour
