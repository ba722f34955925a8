#include "twofour/io/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include "twofour/base/checksum.h"
#include "twofour/base/error.h"
#include "twofour/io/dataset_lines.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBeirHeader = "query-id\tcorpus-id\tscore";
constexpr size_t kAbsent = static_cast<size_t>(-1);

// Positions of the known columns.
struct Columns {
  size_t count = 0;
  size_t query = kAbsent;
  size_t document = kAbsent;
  size_t label = kAbsent;
  size_t query_id = kAbsent;
  size_t document_id = kAbsent;
};

size_t find_column(const std::vector<std::string_view>& names, std::string_view name,
                   const std::string& where) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return kAbsent;
  if (std::find(found + 1, names.end(), name) != names.end()) {
    throw Error(where, fmt::format("column \"{}\" stands twice in the header", name),
                "Give each column a name of its own");
  }
  return static_cast<size_t>(found - names.begin());
}

size_t require_column(const std::vector<std::string_view>& names, std::string_view name,
                      const std::string& where) {
  const size_t position = find_column(names, name, where);
  if (position != kAbsent) return position;
  throw Error(where,
              fmt::format("column \"{}\" is missing; the header has \"{}\"", name,
                          fmt::join(names, "\", \"")),
              "The first line names the columns query, document and label, separated by tabs");
}

Columns parse_header(std::string_view line, const std::string& where, bool need_labels) {
  std::vector<std::string_view> names;
  split_fields(line, names);
  return {names.size(),
          require_column(names, "query", where),
          require_column(names, "document", where),
          need_labels ? require_column(names, "label", where) : find_column(names, "label", where),
          find_column(names, "query_id", where),
          find_column(names, "document_id", where)};
}

constexpr std::string_view kSeparated = "Fields are separated by single tabs and hold none";

void check_field_count(size_t found, size_t expected, const std::string& where,
                       std::string_view remedy = kSeparated) {
  if (found != expected) {
    throw Error(where,
                fmt::format("has another number of fields than the header: {}, expected {}", found,
                            expected),
                remedy);
  }
}

Dataset parse_tsv(Lines& lines, std::string_view header, const std::string& name,
                  const DatasetOptions& options) {
  const Columns columns = parse_header(header, lines.where(), options.need_labels);
  PairCollector pairs(name, options, columns.query_id != kAbsent, columns.document_id != kAbsent);
  std::vector<std::string_view> fields;
  std::string_view line;
  while (lines.next(line)) {
    const std::string where = lines.where();
    split_fields(line, fields);
    check_field_count(fields.size(), columns.count, where);
    const auto optional = [&](size_t column) {
      return column == kAbsent ? std::string_view() : fields[column];
    };
    pairs.add({fields[columns.query], fields[columns.document], optional(columns.query_id),
               optional(columns.document_id),
               columns.label == kAbsent ? 0 : parse_label(fields[columns.label], where)},
              where);
  }
  return pairs.finish();
}

// The object of a line. One that goes on in the next lines is no damage.
JsonObject parse_object(std::string_view line, const Lines& lines) {
  try {
    return JsonObject::parse(line, lines.where());
  } catch (const Error& error) {
    const bool ends_early = error.message().find("unexpected end of input") != std::string::npos;
    if (!ends_early || lines.at_end()) throw;
    throw Error(lines.where(), "the JSON does not end in this line, expected one object a line",
                "Write each object in a line of its own, for example with jq -c .");
  }
}

// An id as text; files give both strings and whole numbers.
std::optional<std::string> id_of(const JsonObject& object, std::string_view key) {
  const nlohmann::json* value = object.find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_integer()) return value->dump();
  return object.string(key);
}

std::string required_id(const JsonObject& object, std::string_view key) {
  const auto id = id_of(object, key);
  if (!id) {
    throw Error(object.where(), fmt::format("key \"{}\" is missing", key),
                "Each line of the file has one");
  }
  return *id;
}

float label_of(const JsonObject& object, bool need_labels) {
  const nlohmann::json* value = object.find("label");
  if (value == nullptr && !need_labels) return 0;
  if (value == nullptr) throw Error(object.where(), "key \"label\" is missing", kLabelRemedy);
  if (value->is_number()) {
    const float label = value->get<float>();
    if (std::abs(label) <= std::numeric_limits<float>::max()) return label;
  }
  throw Error(object.where(),
              fmt::format("label is {}, expected a number",
                          value->is_number() ? "too large" : value->type_name()),
              kLabelRemedy);
}

void check_id_presence(bool found, bool expected, std::string_view key, const std::string& where) {
  if (found == expected) return;
  throw Error(where,
              fmt::format("key \"{}\" is {} here, unlike in the first line", key,
                          found ? "given" : "missing"),
              "Give ids in all lines or in none");
}

void add_object(const JsonObject& object, bool query_ids, bool document_ids, bool need_labels,
                PairCollector& pairs) {
  const auto query_id = id_of(object, "query_id");
  const auto document_id = id_of(object, "document_id");
  check_id_presence(query_id.has_value(), query_ids, "query_id", object.where());
  check_id_presence(document_id.has_value(), document_ids, "document_id", object.where());
  const std::string query = object.string("query");
  const std::string document = object.string("document");
  pairs.add({query, document, query_id ? std::string_view(*query_id) : std::string_view(),
             document_id ? std::string_view(*document_id) : std::string_view(),
             label_of(object, need_labels)},
            object.where());
}

Dataset parse_jsonl(Lines& lines, std::string_view line, const std::string& name,
                    const DatasetOptions& options) {
  const JsonObject first = parse_object(line, lines);
  const bool query_ids = first.has("query_id");
  const bool document_ids = first.has("document_id");
  PairCollector pairs(name, options, query_ids, document_ids);
  add_object(first, query_ids, document_ids, options.need_labels, pairs);
  while (lines.next(line)) {
    add_object(parse_object(line, lines), query_ids, document_ids, options.need_labels, pairs);
  }
  return pairs.finish();
}

// ".tsv" of "x.tsv" and of "x.tsv.zst".
fs::path kind_of(const fs::path& path) {
  return (path.extension() == ".zst" ? path.stem() : path).extension();
}

bool is_jsonl(std::string_view first_line, const std::string& name) {
  return kind_of(name) == ".jsonl" || first_line.starts_with('{');
}

std::string_view first_line_of(Lines& lines, const std::string& name) {
  std::string_view line;
  if (!lines.next(line)) {
    throw Error(name, "the file is empty", "Name a file that holds pairs or texts");
  }
  return line;
}

struct Judgement {
  std::string query_id, document_id;
  float label = 0;
  std::string where;
};

std::vector<Judgement> parse_qrels(const BeirFile& file) {
  Lines lines(file.content, file.name);
  const std::string_view header = first_line_of(lines, file.name);
  if (header != kBeirHeader) {
    throw Error(lines.where(), "expected the header query-id, corpus-id, score, separated by tabs",
                "Name the qrels file of a BEIR folder");
  }
  std::vector<Judgement> judgements;
  std::vector<std::string_view> fields;
  std::string_view line;
  while (lines.next(line)) {
    std::string where = lines.where();
    split_fields(line, fields);
    check_field_count(fields.size(), 3, where);
    const float label = parse_label(fields[2], where);
    judgements.push_back({std::string(fields[0]), std::string(fields[1]), label, std::move(where)});
  }
  return judgements;
}

std::string text_of_document(const JsonObject& object) {
  std::string text = object.string_or("title", "");
  const std::string body = object.string_or("text", "");
  if (!text.empty() && !body.empty()) text += ' ';
  return text + body;
}

[[noreturn]] void fail_as_repeated(const std::string& id, const std::string& where) {
  throw Error(where, fmt::format("_id \"{}\" stands twice", id), "Give each text an id of its own");
}

// Texts by id; corpora are far larger than what is judged, so only the `wanted` ones are kept.
using BeirTexts = std::map<std::string, std::string>;
BeirTexts parse_texts(const BeirFile& file, const std::set<std::string>& wanted) {
  BeirTexts texts;
  Lines lines(file.content, file.name);
  std::string_view line;
  while (lines.next(line)) {
    const JsonObject object = parse_object(line, lines);
    const std::string id = required_id(object, "_id");
    if (!wanted.contains(id)) continue;
    if (!texts.emplace(id, text_of_document(object)).second) fail_as_repeated(id, lines.where());
  }
  return texts;
}

const std::string& text_of(const BeirTexts& texts, const std::string& id, const std::string& file,
                           const std::string& where) {
  const auto found = texts.find(id);
  if (found == texts.end()) {
    throw Error(where, fmt::format("id \"{}\" is not in {}", id, file),
                "Add it there, or remove the line");
  }
  return found->second;
}

// `stem`.jsonl or `stem`.jsonl.zst.
fs::path beir_texts_path(const fs::path& qrels, const std::string& stem) {
  const fs::path root = fs::absolute(qrels).lexically_normal().parent_path().parent_path();
  for (const char* extension : {".jsonl", ".jsonl.zst"}) {
    if (is_there(root / (stem + extension))) return root / (stem + extension);
  }
  throw Error((root / (stem + ".jsonl")).string(),
              fmt::format("no such file, but {} refers to it", qrels.string()),
              "Keep qrels in a folder beside queries.jsonl and corpus.jsonl");
}

Corpus parse_json_corpus(Lines& lines, std::string_view line) {
  Corpus corpus;
  std::unordered_set<std::string> seen;
  do {
    const JsonObject object = parse_object(line, lines);
    if (!object.has("text")) {
      throw Error(lines.where(), "key \"text\" is missing", "Each line of the file has one");
    }
    corpus.ids.push_back(required_id(object, "_id"));
    if (!seen.insert(corpus.ids.back()).second) fail_as_repeated(corpus.ids.back(), lines.where());
    corpus.texts.push_back(text_of_document(object));
  } while (lines.next(line));
  return corpus;
}

// Where a header has the documents: as in pairs, or in texts alone. Absent from what is no header.
size_t find_documents(const std::vector<std::string_view>& names, const std::string& where) {
  const size_t column = find_column(names, "document", where);
  return column == kAbsent ? find_column(names, "text", where) : column;
}

// Whether a first line with tabs is the header of pairs, or none at all, which is said of pairs.
bool is_header_of_pairs(std::string_view line, const std::string& where) {
  std::vector<std::string_view> names;
  split_fields(line, names);
  return find_column(names, "query", where) != kAbsent || find_documents(names, where) == kAbsent;
}

Corpus parse_tsv_corpus(Lines& lines, const std::vector<std::string_view>& names, size_t column) {
  const size_t id = find_column(names, "document_id", lines.where());
  PairCollector::Texts documents;
  documents.kind = "document";
  documents.has_ids = id != kAbsent;
  // The first of documents that stand one a line may look like this.
  const std::string of_one_column =
      fmt::format("Line {} was read as a header, \"{}\". If it is a document, move it down",
                  lines.number(), names.front());
  const std::string_view remedy = names.size() == 1 ? of_one_column : kSeparated;
  std::vector<std::string_view> fields;
  std::string_view line;
  while (lines.next(line)) {
    split_fields(line, fields);
    check_field_count(fields.size(), names.size(), lines.where(), remedy);
    documents.add(documents.has_ids ? fields[id] : std::string_view(), fields[column],
                  lines.where());
  }
  return {std::move(documents.ids), std::move(documents.texts)};
}

Corpus parse_plain_corpus(Lines& lines, std::string_view line) {
  Corpus corpus;
  do {
    corpus.ids.push_back(std::to_string(lines.number()));
    corpus.texts.emplace_back(line);
  } while (lines.next(line));
  return corpus;
}

Corpus parse_corpus(Lines& lines, std::string_view first, const std::string& name) {
  if (is_jsonl(first, name)) return parse_json_corpus(lines, first);
  std::vector<std::string_view> names;
  split_fields(first, names);
  const size_t column = find_documents(names, lines.where());
  if (column != kAbsent) return parse_tsv_corpus(lines, names, column);
  if (names.size() > 1 && kind_of(name) == ".tsv") {
    throw Error(
        lines.where(),
        fmt::format("expected a header with the column document or text; found: {}",
                    fmt::join(names, ", ")),
        "Name the columns in the first line; for one document a line, with tabs in it, name "
        "the file .txt");
  }
  return parse_plain_corpus(lines, first);
}

// What may have been meant by a folder: TSV files in it, and the judgments of a BEIR folder.
std::vector<std::string> tables_in(const fs::path& folder) {
  std::vector<std::string> files;
  for (const fs::path& place : {folder, folder / "qrels"}) {
    std::error_code error;
    for (fs::directory_iterator entry(place, error), end; entry != end; entry.increment(error)) {
      if (kind_of(entry->path()) == ".tsv") files.push_back(entry->path().string());
    }
  }
  std::ranges::sort(files);
  return files;
}

std::vector<std::string> corpora_in(const fs::path& folder) {
  std::vector<std::string> files;
  for (const char* name : {"corpus.jsonl", "corpus.jsonl.zst"}) {
    std::error_code absent;
    if (fs::exists(folder / name, absent)) files.push_back((folder / name).string());
  }
  return files;
}

std::string question(std::vector<std::string> meant) {
  constexpr size_t kNamed = 3;
  if (meant.empty()) return "Name a file in it";
  const size_t more = meant.size() - std::min(meant.size(), kNamed);
  meant.resize(meant.size() - more);
  return fmt::format("Did you mean {}{}?", fmt::join(meant, " or "),
                     more == 0 ? "" : fmt::format(" ({} more)", more));
}

void refuse_folder(const fs::path& path,
                   std::vector<std::string> (*meant_in)(const fs::path& folder)) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return;
  throw Error(path.string(), "is a folder, expected a file", question(meant_in(path)));
}

Dataset read_beir(const fs::path& path, std::string_view qrels, const DatasetOptions& options) {
  const fs::path queries_path = beir_texts_path(path, "queries");
  const fs::path corpus_path = beir_texts_path(path, "corpus");
  const std::string queries = read_file(queries_path);
  const std::string corpus = read_file(corpus_path);
  return parse_beir({qrels, path.string()}, {queries, queries_path.string()},
                    {corpus, corpus_path.string()}, options);
}

// Ids are told apart from the texts that follow them by a byte that neither holds.
std::vector<uint64_t> checksums(const std::vector<std::string>& ids,
                                const std::vector<std::string>& texts, bool numbered) {
  std::vector<uint64_t> sums;
  for (size_t i = 0; i < ids.size(); ++i)
    sums.push_back(checksum64(ids[i] + '\0' + (numbered ? texts[i] : "")));
  return sums;
}

}  // namespace

Dataset parse_dataset(std::string_view content, const std::string& name,
                      const DatasetOptions& options) {
  Lines lines(content, name);
  const std::string_view first = first_line_of(lines, name);
  return is_jsonl(first, name) ? parse_jsonl(lines, first, name, options)
                               : parse_tsv(lines, first, name, options);
}

Dataset parse_beir(const BeirFile& qrels, const BeirFile& queries, const BeirFile& corpus,
                   const DatasetOptions& options) {
  const std::vector<Judgement> judgements = parse_qrels(qrels);
  std::set<std::string> query_ids, document_ids;
  for (const Judgement& judgement : judgements) {
    query_ids.insert(judgement.query_id);
    document_ids.insert(judgement.document_id);
  }
  const BeirTexts query_texts = parse_texts(queries, query_ids);
  const BeirTexts document_texts = parse_texts(corpus, document_ids);
  PairCollector pairs(qrels.name, options, true, true);
  for (const auto& [query_id, document_id, label, where] : judgements) {
    pairs.add(
        {text_of(query_texts, query_id, queries.name, where),
         text_of(document_texts, document_id, corpus.name, where), query_id, document_id, label},
        where);
  }
  return pairs.finish();
}

Dataset read_dataset(const fs::path& path, const DatasetOptions& options) {
  refuse_folder(path, tables_in);
  const std::string content = read_file(path);
  Lines lines(content, path.string());
  if (first_line_of(lines, path.string()) == kBeirHeader) return read_beir(path, content, options);
  return parse_dataset(content, path.string(), options);
}

std::string pairs_checksum(const Dataset& data) {
  const auto queries = checksums(data.query_ids, data.queries, data.queries_numbered);
  const auto documents = checksums(data.document_ids, data.documents, data.documents_numbered);
  uint64_t sum = 0;
  for (const Pair& pair : data.pairs) {
    sum += checksum64(
        fmt::format("{} {} {}", queries[pair.query], documents[pair.document], pair.label));
  }
  return fmt::format("{:016x}", sum);
}

std::string repeated_pairs_note(const Dataset& data) {
  if (data.repeated_pairs == 0) return {};
  return fmt::format("pairs of {} that repeat others with the same label, and count once: {}",
                     data.origin, data.repeated_pairs);
}

Dataset read_texts(const fs::path& path) {
  refuse_folder(path, corpora_in);
  const std::string content = read_file(path);
  Lines lines(content, path.string());
  const std::string_view first = first_line_of(lines, path.string());
  const bool pairs = is_jsonl(first, path.string()) ? parse_object(first, lines).has("query")
                                                    : first.find('\t') != std::string_view::npos &&
                                                          is_header_of_pairs(first, lines.where());
  if (pairs) return read_dataset(path);
  Corpus corpus = read_corpus(path);
  Dataset data;
  data.origin = path.string();
  data.document_ids = std::move(corpus.ids);
  data.documents = std::move(corpus.texts);
  return data;
}

Corpus read_corpus(const fs::path& path) {
  refuse_folder(path, corpora_in);
  const std::string content = read_file(path);
  Lines lines(content, path.string());
  Corpus corpus;
  std::string_view first;
  if (lines.next(first)) corpus = parse_corpus(lines, first, path.string());
  if (corpus.ids.empty()) {
    throw Error(path.string(), "holds no documents", "Name a file with a document in each line");
  }
  return corpus;
}

}  // namespace twofour
