#include "twofour/metrics/scores_file.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "twofour-query-scores";
constexpr int kVersion = 1;
constexpr const char* kWriteOne = "twofour eval MODEL DATA --scores FILE.jsonl.zst writes one";

// Name in the file and member, for writing and reading alike.
constexpr std::pair<const char*, int64_t QueryStats::*> kCounts[] = {
    {"concordant", &QueryStats::concordant},
    {"discordant", &QueryStats::discordant},
    {"ties", &QueryStats::ties},
    {"pairs", &QueryStats::pairs},
    {"classified", &QueryStats::classified},
    {"correct", &QueryStats::correct},
    {"retrieved", &QueryStats::retrieved},
    {"relevant", &QueryStats::relevant},
    {"relevant_retrieved", &QueryStats::relevant_retrieved},
};

json header_json(const QueryScores& scores) {
  const MetricOptions& o = scores.options;
  json options = {{"ndcg_k", o.ndcg_k},
                  {"recall_k", o.recall_k},
                  {"relevant_label", o.relevant_label},
                  {"gain", o.gain == Gain::kLinear ? "linear" : "exponential"}};
  // JSON has no infinity, and minus infinity is what an absent threshold means.
  if (std::isfinite(o.score_threshold)) options["score_threshold"] = o.score_threshold;
  json header = {
      {"format", kFormat}, {"version", kVersion}, {"system", scores.system}, {"options", options}};
  if (scores.collection) header["collection"] = true;
  if (!scores.data_checksum.empty()) header["data_checksum"] = scores.data_checksum;
  return header;
}

json query_json(const QueryStats& query) {
  json out = {{"query", query.query_id}};
  for (const auto& [name, member] : kCounts) out[name] = query.*member;
  if (query.ndcg_defined) out["ndcg"] = query.ndcg;
  return out;
}

[[noreturn]] void fail(const JsonObject& line, std::string_view message) {
  throw Error(line.where(), message, "Write the file again with twofour eval");
}

int64_t count(const JsonObject& line, const char* key) {
  return line.integer(key, 0, std::numeric_limits<int64_t>::max());
}

Gain parse_gain(const JsonObject& options) {
  const std::string gain = options.string("gain");
  if (gain == "exponential") return Gain::kExponential;
  if (gain == "linear") return Gain::kLinear;
  fail(options, fmt::format("'gain' is '{}', expected 'exponential' or 'linear'", gain));
}

// Of another file, which need not be JSON at all.
JsonObject header_of(const std::string& text, std::string where) {
  const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object() || !value.contains("format") || value["format"] != json(kFormat)) {
    throw Error(
        where,
        fmt::format("expected a header with format '{}': this is no file of scores", kFormat),
        kWriteOne);
  }
  return JsonObject::parse(text, std::move(where));
}

void parse_header(const JsonObject& line, QueryScores& out) {
  if (count(line, "version") != kVersion) {
    fail(line, fmt::format("version is {}, expected {}", count(line, "version"), kVersion));
  }
  out.system = line.string("system");
  const std::optional<JsonObject> options = line.object("options");
  if (!options) fail(line, "key \"options\" is missing");
  out.options.ndcg_k = count(*options, "ndcg_k");
  out.options.recall_k = count(*options, "recall_k");
  out.options.relevant_label = static_cast<float>(options->number("relevant_label"));
  if (options->has("score_threshold")) {
    out.options.score_threshold = static_cast<float>(options->number("score_threshold"));
  }
  out.options.gain = parse_gain(*options);
  out.collection = line.boolean_or("collection", false);
  out.data_checksum = line.string_or("data_checksum", "");
}

QueryStats parse_query(const JsonObject& line) {
  QueryStats q;
  q.query_id = line.string("query");
  for (const auto& [name, member] : kCounts) q.*member = count(line, name);
  q.ndcg_defined = line.has("ndcg");
  if (q.ndcg_defined) q.ndcg = line.number("ndcg");
  if (q.classified > q.pairs || q.correct > q.classified || q.relevant > q.pairs ||
      q.retrieved > q.pairs || q.relevant_retrieved > std::min(q.relevant, q.retrieved)) {
    fail(line, fmt::format("the counts of query '{}' contradict each other", q.query_id));
  }
  return q;
}

// What twofour eval --out writes beside it: one object, over many lines.
void check_is_no_result(const std::string& text, const std::filesystem::path& path) {
  const json whole = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!whole.is_object() || !whole.contains("metrics")) return;
  throw Error(path.string(), "is a result of twofour eval --out: it has no scores of queries",
              "Name the file that twofour eval --scores wrote (.jsonl, .jsonl.zst)");
}

void refuse_folder(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return;
  const std::filesystem::path meant = path / "scores.jsonl.zst";
  throw Error(path.string(), "is a folder, expected a file of scores",
              std::filesystem::exists(meant, ignored)
                  ? fmt::format("Did you mean {}?", meant.string())
                  : kWriteOne);
}

// Without ids, texts are numbered by place.
constexpr std::string_view kSameData =
    "Compare systems scored on the same data, where it has no ids with its rows in the same order";

// --relevant among them: where it is not given, the data's labels decide.
constexpr std::string_view kSameOptions = "Evaluate all with the same options, --relevant too";

// Of pairs with different labels each is concordant, discordant or a tie.
bool same_labels(const QueryStats& a, const QueryStats& b, bool collection) {
  const auto different = [](const QueryStats& q) { return q.concordant + q.discordant + q.ties; };
  return a.relevant == b.relevant &&
         (collection || (a.pairs == b.pairs && different(a) == different(b)));
}

}  // namespace

void write_scores_file(const std::filesystem::path& path, const QueryScores& scores) {
  std::string text = json_text(header_json(scores)) + '\n';
  try {
    for (const QueryStats& query : scores.queries) text += query_json(query).dump() + '\n';
  } catch (const json::type_error&) {
    throw Error(path.string(), "a query id is not UTF-8", "Correct it in the data");
  }
  write_file_atomically(path, text);
}

QueryScores read_scores_file(const std::filesystem::path& path) {
  refuse_folder(path);
  const std::string content = read_file(path);
  check_is_no_result(content, path);
  std::istringstream lines(content);
  QueryScores out;
  std::set<std::string> seen;
  int64_t number = 0;
  for (std::string text; std::getline(lines, text);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++number);
    if (number == 1) {
      parse_header(header_of(text, where), out);
      continue;
    }
    const auto line = JsonObject::parse(text, where);
    out.queries.push_back(parse_query(line));
    const std::string& id = out.queries.back().query_id;
    if (!seen.insert(id).second) fail(line, fmt::format("query '{}' stands twice", id));
  }
  if (out.queries.empty())
    throw Error(path.string(), "the file holds no queries",
                "Write it again with twofour eval --scores");
  return out;
}

void check_comparable(const std::filesystem::path& a_file, const QueryScores& a,
                      const std::filesystem::path& b_file, const QueryScores& b) {
  const auto differ = [&](const std::string& how, std::string_view remedy) {
    throw Error(b_file.string(), fmt::format("{} {}", how, a_file.string()), remedy);
  };
  if (!comparable(a.options, b.options) || a.collection != b.collection)
    differ("was evaluated with other metric options than", kSameOptions);
  std::map<std::string_view, const QueryStats*> of_a;
  for (const QueryStats& query : a.queries) of_a[query.query_id] = &query;
  for (const QueryStats& query : b.queries) {
    const auto found = of_a.find(query.query_id);
    if (found == of_a.end())
      differ(fmt::format("has query '{}', which is not in", query.query_id), kSameData);
    if (!same_labels(*found->second, query, a.collection))
      differ(fmt::format("has other pairs or labels of query '{}' than", query.query_id),
             kSameData);
    of_a.erase(found);
  }
  if (!of_a.empty()) differ(fmt::format("lacks query '{}' of", of_a.begin()->first), kSameData);
  const bool known = !a.data_checksum.empty() && !b.data_checksum.empty();
  if (known && a.data_checksum != b.data_checksum)
    differ("has the checksum of other data than", kSameData);
}

QueryScores pool_scores_files(const std::vector<std::filesystem::path>& paths) {
  if (paths.empty()) throw Error("metrics", "there are no score files to pool");
  QueryScores pooled;
  std::set<std::string> ids;
  for (const std::filesystem::path& path : paths) {
    QueryScores scores = read_scores_file(path);
    if (ids.empty()) pooled = {scores.system, scores.options, {}, scores.collection};
    if (!comparable(scores.options, pooled.options) || scores.collection != pooled.collection) {
      throw Error(
          path.string(),
          fmt::format("was evaluated with other metric options than {}", paths.front().string()),
          kSameOptions);
    }
    for (QueryStats& query : scores.queries) {
      if (!ids.insert(query.query_id).second) {
        throw Error(path.string(),
                    fmt::format("query '{}' stands in an earlier file too", query.query_id),
                    "Pool evaluations of different queries, such as folds.");
      }
      pooled.queries.push_back(std::move(query));
    }
  }
  return pooled;
}

}  // namespace twofour
