#include "twofour/metrics/trec.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

constexpr std::string_view kSpace = " \t\r\n\v\f";

void check_field(const std::string& origin, const char* what, const std::string& field) {
  if (field.empty() || field.find_first_of(kSpace) != std::string::npos) {
    throw Error(origin, fmt::format("{} '{}' is empty or holds white space", what, field),
                "Rename it: a TREC run separates its fields by spaces");
  }
}

void check_row(const std::string& origin, const TrecRow& row) {
  check_field(origin, "query id", row.query);
  check_field(origin, "document id", row.document);
  if (!std::isfinite(row.score)) {
    throw Error(origin,
                fmt::format("the score of document '{}' for query '{}' is {}", row.document,
                            row.query, row.score),
                "Remove the row, or write the run again");
  }
}

// Each pair of query and document once, by file line where there is one.
class PairsSeen {
 public:
  void insert(const std::string& where, const std::string& query, const std::string& document) {
    if (!seen_.emplace(query, document).second) {
      throw Error(where,
                  fmt::format("document '{}' stands twice under query '{}'", document, query),
                  "Keep one of the two");
    }
  }

 private:
  std::set<std::pair<std::string, std::string>> seen_;
};

std::vector<std::vector<const TrecRow*>> ranked_queries(const std::string& origin,
                                                        const TrecRun& run) {
  std::unordered_map<std::string_view, size_t> index;
  std::vector<std::vector<const TrecRow*>> queries;
  PairsSeen seen;
  for (const TrecRow& row : run.rows) {
    check_row(origin, row);
    seen.insert(origin, row.query, row.document);
    const auto [at, is_new] = index.emplace(row.query, queries.size());
    if (is_new) queries.emplace_back();
    queries[at->second].push_back(&row);
  }
  for (auto& rows : queries) {
    std::stable_sort(rows.begin(), rows.end(),
                     [](auto* a, auto* b) { return a->score > b->score; });
  }
  return queries;
}

constexpr const char* kRow = "A row is: query Q0 document rank score tag";

std::vector<std::string> split_words(const std::string& line) {
  std::istringstream words(line);
  return {std::istream_iterator<std::string>(words), {}};
}

double parse_score(const std::string& where, const std::string& field) {
  double value = 0;
  const char* begin = field.data() + (field.front() == '+');
  const char* end = field.data() + field.size();
  const auto [rest, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value)) {
    throw Error(where, fmt::format("score '{}' is not a finite number", field), kRow);
  }
  return value;
}

constexpr float kNotFound = -std::numeric_limits<float>::infinity();

// What f32 cannot hold becomes its largest value: minus infinity would mean "not found".
float pair_score(double score) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(score, -kLargest, kLargest));
}

// Scores of a run by query and document.
class RunScores {
 public:
  explicit RunScores(const TrecRun& run) {
    for (const TrecRow& row : run.rows) scores_[row.query][row.document] = row.score;
  }

  const double* find(const std::string& query, const std::string& document) const {
    const auto of_query = scores_.find(query);
    if (of_query == scores_.end()) return nullptr;
    const auto found = of_query->second.find(document);
    return found == of_query->second.end() ? nullptr : &found->second;
  }

 private:
  std::unordered_map<std::string_view, std::unordered_map<std::string_view, double>> scores_;
};

constexpr const char* kNumberedTag = "twofour-";

constexpr const char* kOfItsData =
    "Name the data that the run was made on, or give it ids: without, texts are numbered by "
    "place, so that rows must stand in the same order";

bool numbered(const Dataset& dataset) {
  return dataset.queries_numbered || dataset.documents_numbered;
}

std::string quoted(const std::string& id) { return fmt::format("'{}'", id); }

std::string pair_name(const std::string& query, const std::string& document) {
  return fmt::format("document '{}' of query '{}'", document, query);
}

void count(const std::string& name, Unmatched& unmatched) {
  if (++unmatched.count == 1) unmatched.first = name;
}

RunMatch differences(const TrecRun& run, const Dataset& dataset) {
  std::unordered_map<std::string_view, std::unordered_set<std::string_view>> judged;
  for (const Pair& pair : dataset.pairs)
    judged[dataset.query_ids[pair.query]].insert(dataset.document_ids[pair.document]);
  RunMatch match;
  std::unordered_set<std::string_view> ranked;
  for (const TrecRow& row : run.rows) {
    const auto documents = judged.find(row.query);
    if (ranked.insert(row.query).second) {
      ++match.queries.total;
      if (documents == judged.end()) count(quoted(row.query), match.queries);
    }
    if (documents == judged.end()) continue;
    ++match.pairs.total;
    if (!documents->second.contains(row.document))
      count(pair_name(row.query, row.document), match.pairs);
  }
  match.unranked.total = std::ssize(dataset.query_ids);
  for (const std::string& query : dataset.query_ids) {
    if (!ranked.contains(query)) count(quoted(query), match.unranked);
  }
  return match;
}

}  // namespace

void write_trec_run(const std::filesystem::path& path, const TrecRun& run) {
  check_field(path.string(), "tag", run.tag);
  std::string text;
  for (const auto& rows : ranked_queries(path.string(), run)) {
    for (size_t i = 0; i < rows.size(); ++i) {
      text += fmt::format("{} Q0 {} {} {} {}\n", rows[i]->query, rows[i]->document, i + 1,
                          rows[i]->score, run.tag);
    }
  }
  write_file_atomically(path, text);
}

TrecRun read_trec_run(const std::filesystem::path& path) {
  std::istringstream lines(read_file(path));
  TrecRun run;
  PairsSeen seen;
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++number);
    const std::vector<std::string> fields = split_words(line);
    if (fields.empty()) continue;
    if (fields.size() != 6) {
      throw Error(where, fmt::format("{} fields, expected 6", fields.size()), kRow);
    }
    seen.insert(where, fields[0], fields[2]);
    if (run.rows.empty()) run.tag = fields[5];
    run.rows.push_back({fields[0], fields[2], parse_score(where, fields[4])});
  }
  if (run.rows.empty()) throw Error(path.string(), "the file holds no rows", kRow);
  return run;
}

std::string run_tag(const Dataset& dataset) {
  return numbered(dataset) ? kNumberedTag + pairs_checksum(dataset) : "twofour";
}

RunMatch match_run(const std::filesystem::path& path, const TrecRun& run, const Dataset& dataset) {
  const auto fail = [&](const std::string& how) { throw Error(path.string(), how, kOfItsData); };
  if (numbered(dataset) && run.tag.starts_with(kNumberedTag) && run.tag != run_tag(dataset)) {
    fail(fmt::format("is of other data than {}: its tag is {}, expected {}", dataset.origin,
                     run.tag, run_tag(dataset)));
  }
  const RunMatch match = differences(run, dataset);
  if (match.queries.count == match.queries.total) {
    fail(fmt::format("no query of the run is in {}: ids are such as '{}' here, '{}' there",
                     dataset.origin, run.rows.front().query, dataset.query_ids.front()));
  }
  const auto require_all = [&](const char* what, const Unmatched& lacking) {
    if (lacking.count == 0) return;
    fail(fmt::format("is of other data: {} of {} {} of the run are not in {}, the first is {}",
                     lacking.count, lacking.total, what, dataset.origin, lacking.first));
  };
  if (dataset.queries_numbered) require_all("queries", match.queries);
  if (dataset.documents_numbered) require_all("pairs", match.pairs);
  return match;
}

std::vector<ScoredPair> pairs_of_run(const TrecRun& run, const Dataset& dataset) {
  const RunScores scores(run);
  std::vector<ScoredPair> out;
  Unmatched missing{.total = std::ssize(dataset.pairs)};
  for (const Pair& pair : dataset.pairs) {
    const std::string& query = dataset.query_ids[pair.query];
    const std::string& document = dataset.document_ids[pair.document];
    const double* score = scores.find(query, document);
    if (score == nullptr)
      count(pair_name(query, document), missing);
    else
      out.push_back({pair.query, pair.label, pair_score(*score), -1});
  }
  if (missing.count == 0) return out;
  throw Error(dataset.origin,
              fmt::format("run '{}' has no score for {} of {} pairs, the first is {}", run.tag,
                          missing.count, missing.total, missing.first),
              "Rank them too; twofour eval --collection counts them as not found");
}

std::vector<ScoredPair> pairs_of_collection_run(const TrecRun& run, const Dataset& dataset) {
  const RunScores scores(run);
  std::unordered_map<std::string_view, int32_t> queries;
  for (const std::string& id : dataset.query_ids)
    queries.emplace(id, static_cast<int32_t>(queries.size()));
  std::unordered_map<std::string_view, std::unordered_set<std::string_view>> judged;
  std::vector<ScoredPair> out;
  for (const Pair& pair : dataset.pairs) {
    const std::string& query = dataset.query_ids[pair.query];
    const std::string& document = dataset.document_ids[pair.document];
    judged[query].insert(document);
    const double* score = scores.find(query, document);
    out.push_back({pair.query, pair.label, score == nullptr ? kNotFound : pair_score(*score)});
  }
  for (const TrecRow& row : run.rows) {
    const auto query = queries.find(row.query);
    if (query == queries.end() || judged[row.query].contains(row.document)) continue;
    out.push_back({query->second, 0, pair_score(row.score)});
  }
  return out;
}

}  // namespace twofour
