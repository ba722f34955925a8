#include "twofour/cli/report_data.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "twofour/base/error.h"
#include "twofour/cli/model_json.h"
#include "twofour/cli/report_queries.h"
#include "twofour/cli/unfinished_run.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/metrics/scores_file.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// More points than a chart has pixels only make the page large.
constexpr size_t kMaxPoints = 400;

// Of the intervals; twofour compare has the same defaults.
constexpr int kResamples = 10000;
constexpr double kConfidence = 0.95;
constexpr uint64_t kSeed = 17;

constexpr const char* kModel = "model";  // in a run

using Curve = std::vector<std::pair<int64_t, double>>;

struct Log {
  std::map<std::string, Curve> curves;
  std::vector<std::pair<int64_t, std::string>> stages;  // first step and name
  int64_t last_step = -1;                               // of any row
};

constexpr int64_t kAnyCount = std::numeric_limits<int64_t>::max();

void add_row(const JsonObject& row, Log& log) {
  const std::string kind = row.string("kind");
  const int64_t step = row.integer("step", 0, kAnyCount);
  log.last_step = step;
  if (kind == "stage") {
    log.stages.emplace_back(step, row.string("stage"));
  } else if (kind == "step") {
    for (const char* key : {"loss", "lr", "pairs_per_second"}) {
      if (row.has(key)) log.curves[key].emplace_back(step, row.number(key));
    }
  } else if (kind == "evaluation") {
    const JsonObject metrics = row.required_object("metrics");
    for (const auto& [name, value] : metrics.members().items()) {
      if (metrics.has(name)) log.curves["metric:" + name].emplace_back(step, metrics.number(name));
    }
  }
}

// What the page and the tables take from eval.json, bench.json and summary.json, by its type.
void check_numbers(const JsonObject& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys) object.number_or(key, 0);
}

void check_eval(const JsonObject& eval) {
  check_numbers(eval, {"queries", "pairs", "seconds", "pairs_per_second", "memory_bytes"});
  const JsonObject metrics = eval.required_object("metrics");
  for (const auto& [name, value] : metrics.members().items()) metrics.number_or(name, 0);
}

void check_bench(const JsonObject& bench) {
  for (const JsonObject& row : bench.objects("results")) {
    for (const char* key : {"batch", "tokens", "threads"}) {
      row.integer(key, 1, std::numeric_limits<int>::max());
    }
    row.number("median_ms");
    check_numbers(row, {"sequences_per_second"});
    if (const auto against = row.object("against")) {
      for (const char* key : {"ratio", "ratio_low", "ratio_high"}) against->number(key);
    }
  }
}

void check_summary(const JsonObject& summary) { check_numbers(summary, {"steps", "seconds"}); }

constexpr const char* kDamaged = "damaged JSON";
constexpr const char* kEvalRemedy = "Write it again with twofour eval --out";

struct RunFile {
  const char* name;
  void (*check)(const JsonObject&);
  const char* remedy;  // of a damaged one
};

// A run without its summary would be trained again by train --resume.
constexpr RunFile kFiles[] = {
    {"eval", check_eval, kEvalRemedy},
    {"bench", check_bench, "Write it again with twofour bench --out"},
    {"summary", check_summary,
     "Restore it from a copy, or report on a copy of the run without it: train --resume reads it "
     "here"}};

// Of eval and bench.
constexpr const char* kResults[] = {"eval.json", "bench.json", "scores.jsonl.zst", kRankingFile};

Log read_log(const fs::path& path) {
  std::istringstream in(read_file(path));
  Log log;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++number);
    // A kill may cut the last line short.
    if (in.eof() && !Json::accept(line)) break;
    add_row(JsonObject::parse(line, where, {kDamaged, "Remove the line: reports do without it"}),
            log);
  }
  return log;
}

// Means of equal stretches, when there are too many points.
Curve thinned(const Curve& curve) {
  if (curve.size() <= kMaxPoints) return curve;
  Curve out;
  for (size_t i = 0; i < kMaxPoints; ++i) {
    const size_t begin = i * curve.size() / kMaxPoints, end = (i + 1) * curve.size() / kMaxPoints;
    double sum = 0;
    for (size_t j = begin; j < end; ++j) sum += curve[j].second;
    out.emplace_back(curve[end - 1].first, sum / static_cast<double>(end - begin));
  }
  return out;
}

// Less than this share of zeros is not meant: int8 rounds small weights of a dense model to 0.
constexpr double kZerosOfRounding = 0.05;

// The kind of weights in a word, and which rows share a pattern, of the layers that are 2:4.
void add_pattern(Json& model) {
  const Json& layers = model["layers"];
  std::set<int> sharing;
  double zeros = 0;
  for (const Json& layer : layers) {
    zeros += layer["sparsity"].get<double>() / static_cast<double>(layers.size());
    if (layer["groups_2_4"] == 1) sharing.insert(layer["share_rows"].get<int>());
  }
  if (!sharing.empty()) {
    model["kind"] = "2:4";
    model["pattern"] = sharing == std::set<int>{1}
                           ? "each row has its own pattern"
                           : fmt::format("rows share a pattern by {}", fmt::join(sharing, ", "));
    return;
  }
  model["kind"] =
      zeros < kZerosOfRounding ? "dense" : fmt::format("{:.0f} % zeros, not 2:4", zeros * 100);
  model["pattern"] = model["kind"];
}

void add_model(const fs::path& path, Json& run) {
  const ModelDirectory model = ModelDirectory::open(path);
  const Network network = build_network(model.config());
  run["model"] = inspect_json(model, network, inspect_model(network, model), std::nullopt);
  add_pattern(run["model"]);
  if (model.twofour_json().empty()) return;
  const auto ours = JsonObject::parse(model.twofour_json(), (path / "twofour.json").string());
  const nlohmann::json* recipe = ours.find("recipe");
  if (recipe == nullptr) return;
  run["recipe"] = recipe->is_string() ? recipe->get<std::string>()
                                      : ours.object("recipe")->string_or("name", "");
}

// The last step in it.
int64_t add_log(const fs::path& path, Json& run) {
  const Log log = read_log(path);
  for (const auto& [name, curve] : log.curves) run["curves"][name] = thinned(curve);
  for (const auto& [step, name] : log.stages)
    run["stages"].push_back({{"step", step}, {"name", name}});
  return log.last_step;
}

Json collect_run(const fs::path& path) {
  Json run = {{"path", path.string()}, {"curves", Json::object()}, {"stages", Json::array()}};
  bool found = false;
  for (const fs::path& model : {path / kModel, path}) {
    if (!fs::exists(model / "config.json")) continue;
    add_model(model, run);
    found = true;
    break;
  }
  int64_t logged_step = -1;
  if (fs::exists(path / "log.jsonl")) {
    logged_step = add_log(path / "log.jsonl", run);
    found = true;
  }
  if (Json unfinished = unfinished_run(path, logged_step); !unfinished.is_null()) {
    run["unfinished"] = std::move(unfinished);
    found = true;
  }
  for (const auto& [name, check, remedy] : kFiles) {
    const std::string file_name = fmt::format("{}.json", name);
    const fs::path file = check == check_summary ? path / file_name : result_file(path, file_name);
    if (!fs::exists(file)) continue;
    const std::string text = read_file(file);
    check(JsonObject::parse(text, file.string(), {kDamaged, remedy}));
    run[name] = Json::parse(text);
    found = true;
  }
  if (!found) {
    throw Error(path.string(),
                "is no run: none of log.jsonl, model/, eval.json and bench.json is there",
                "Give the folder that twofour train --out names");
  }
  return run;
}

std::set<std::string> query_ids(const QueryScores& scores) {
  std::set<std::string> ids;
  for (const QueryStats& query : scores.queries) ids.insert(query.query_id);
  return ids;
}

// Differences of each run's scores to those of the first run, where both have scores over the same
// queries: {"pnr": {"relative", "low", "high"}, ...}. `suffix` is "" or "-NAME" of a set.
void add_differences(const std::vector<fs::path>& paths, const std::string& suffix, Json& runs) {
  const auto scores_of = [&](const fs::path& run) {
    return result_file(run, fmt::format("scores{}.jsonl.zst", suffix));
  };
  if (!fs::exists(scores_of(paths.front()))) return;
  const QueryScores base = read_scores_file(scores_of(paths.front()));
  for (size_t i = 1; i < paths.size(); ++i) {
    if (!fs::exists(scores_of(paths[i]))) continue;
    const QueryScores scores = read_scores_file(scores_of(paths[i]));
    if (query_ids(scores) != query_ids(base)) continue;
    check_comparable(scores_of(paths.front()), base, scores_of(paths[i]), scores);
    Json& differences = runs[i]["differences"];
    for (const auto& [name, interval] : paired_bootstrap(base.queries, scores.queries, kResamples,
                                                         kConfidence, kSeed, base.options)) {
      differences[name] = {{"relative", interval.relative},
                           {"low", interval.relative_low},
                           {"high", interval.relative_high}};
    }
  }
}

bool is_of_set(const std::string& file) {
  return (file.starts_with("eval-") && file.ends_with(".json")) ||
         (file.starts_with("scores-") && file.ends_with(".jsonl.zst"));
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::is_directory(folder)) return names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

// Names of further sets of data that some run was evaluated on.
std::set<std::string> set_names(const std::vector<fs::path>& paths) {
  std::set<std::string> names;
  for (const fs::path& path : paths) {
    for (const fs::path& folder : {path, path / kModel}) {
      for (const std::string& file : names_in(folder)) {
        if (file.starts_with("eval-") && file.ends_with(".json"))
          names.insert(file.substr(5, file.size() - 10));
      }
    }
  }
  return names;
}

Json collect_set(const std::string& name, const std::vector<fs::path>& paths, const Json& runs) {
  Json set = {{"name", name}, {"runs", Json::array()}};
  for (size_t i = 0; i < paths.size(); ++i) {
    Json run = {{"name", runs[i]["name"]}};
    const fs::path file = result_file(paths[i], fmt::format("eval-{}.json", name));
    if (fs::exists(file)) {
      const std::string text = read_file(file);
      check_eval(JsonObject::parse(text, file.string(), {kDamaged, kEvalRemedy}));
      run["eval"] = Json::parse(text);
    }
    set["runs"].push_back(std::move(run));
  }
  add_differences(paths, "-" + name, set["runs"]);
  return set;
}

// The last part of the path, or the one before "model"; more of it where two runs would share a
// name.
std::string run_name(const fs::path& path, std::set<std::string>& taken) {
  const fs::path clean = fs::absolute(path).lexically_normal();
  fs::path folder = clean.filename().empty() ? clean.parent_path() : clean;
  if (folder.filename() == kModel && folder.has_parent_path()) folder = folder.parent_path();
  std::string name = folder.filename().string();
  if (taken.contains(name)) name = folder.parent_path().filename().string() + "/" + name;
  if (taken.contains(name)) name = folder.string();
  taken.insert(name);
  return name;
}

// In its folder's true name: where a link to a model lies says whose it is.
fs::path resolved(const fs::path& path) {
  const fs::path whole = path.filename().empty() ? path.parent_path() : path;
  if (whole.filename() != kModel) return fs::canonical(whole);
  return fs::canonical(whole.has_parent_path() ? whole.parent_path() : ".") / kModel;
}

bool is_model_in_run(const fs::path& folder) {
  return folder.filename() == kModel && fs::exists(folder / "config.json");
}

}  // namespace

fs::path run_of(const fs::path& path) {
  if (!fs::exists(path))
    throw Error(path.string(), "there is no such folder", "Give the folder of a run or a model");
  if (!fs::is_directory(path))
    throw Error(path.string(), "is no folder", "Give the folder of a run or a model");
  fs::path folder = resolved(path);
  if (is_model_in_run(folder)) folder = fs::canonical(folder.parent_path());
  return path.is_absolute() ? folder : fs::proximate(folder);
}

fs::path result_file(const fs::path& run, const std::string& name) {
  const fs::path beside = run / name, inside = run / kModel / name;
  return !fs::exists(beside) && fs::exists(inside) ? inside : beside;
}

std::vector<std::string> twofold_results(const fs::path& run) {
  std::vector<std::string> found;
  for (const std::string& name : names_in(run / kModel)) {
    const bool result = std::ranges::find(kResults, name) != std::end(kResults) || is_of_set(name);
    if (result && fs::exists(run / name) && read_file(run / name) != read_file(run / kModel / name))
      found.push_back(name);
  }
  return found;
}

Json collect_report(const std::vector<fs::path>& runs) {
  Json report = {{"runs", Json::array()}, {"sets", Json::array()}};
  std::set<std::string> taken;
  for (const fs::path& path : runs) {
    Json run = collect_run(path);
    run["name"] = run_name(path, taken);
    report["runs"].push_back(std::move(run));
  }
  add_differences(runs, "", report["runs"]);
  for (const std::string& name : set_names(runs))
    report["sets"].push_back(collect_set(name, runs, report["runs"]));
  return report;
}

}  // namespace twofour::cli
