#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/format.h"
#include "twofour/cli/table.h"
#include "twofour/cli/validators.h"
#include "twofour/io/json.h"
#include "twofour/metrics/scores_file.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(Both files come from twofour eval --scores over the same data, without ids also with its rows in the same order; they
keep a checksum of it. Of older files and those of eval --pool, which have none, ids of queries and numbers of pairs and
labels are compared. Differences are B - A with their paired bootstrap interval over queries; A is the base of relative
differences.

Examples:
  twofour compare dense.jsonl.zst sparse.jsonl.zst
  twofour compare dense.jsonl.zst sparse.jsonl.zst --non-inferior ndcg@10=-2% --non-inferior pnr=-6%
      exit code 3 unless the lower end of each interval lies above the margin; a metric that cannot fall, such as one
      that is 0 for both on every query, meets no gate)";

struct Options {
  std::filesystem::path a, b;
  std::vector<std::string> gates;
  int resamples = 10000;
  double confidence = 0.95;
  uint64_t seed = 17;
  bool json = false;
};

struct Gate {
  std::string metric;
  double margin = 0;
  bool relative = false;
};

// "ndcg@10=-2%" is relative, "accuracy=-0.01" absolute.
std::optional<Gate> parse_gate(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return std::nullopt;
  std::string_view number = std::string_view(text).substr(equals + 1);
  Gate gate{text.substr(0, equals)};
  if (number.ends_with('%')) {
    gate.relative = true;
    number.remove_suffix(1);
  }
  const char* end = number.data() + number.size();
  const auto [rest, error] = std::from_chars(number.data(), end, gate.margin);
  if (error != std::errc() || rest != end) return std::nullopt;
  if (!std::isfinite(gate.margin) || gate.margin > 0) return std::nullopt;
  if (gate.relative) gate.margin /= 100;
  return gate;
}

std::string check_gate(const std::string& text) {
  const auto gate = parse_gate(text);
  if (!gate) return "expected METRIC=-N% or METRIC=-N, e.g. ndcg@10=-2%";
  // All metrics but pnr lie in [0, 1]: "ndcg@10=-2" forgot its percent sign.
  if (gate->margin <= -1 && (gate->relative || gate->metric != "pnr"))
    return fmt::format("{} is a gate that nothing fails; a percentage has a %, e.g. ndcg@10=-2%",
                       text);
  return gate->metric == "pnr_ties" ? "pnr_ties is a count, neither better nor worse" : "";
}

struct Comparison {
  QueryScores a_scores, b_scores;
  Metrics a, b;
  std::map<std::string, Interval> intervals;
};

Comparison compare(const Options& options) {
  const QueryScores a = read_scores_file(options.a);
  const QueryScores b = read_scores_file(options.b);
  check_comparable(options.a, a, options.b, b);
  return {a, b, aggregate(a.queries, a.options), aggregate(b.queries, b.options),
          paired_bootstrap(a.queries, b.queries, options.resamples, options.confidence,
                           options.seed, a.options)};
}

const Interval& interval_of(const Gate& gate, const Comparison& comparison) {
  const auto found = comparison.intervals.find(gate.metric);
  if (found != comparison.intervals.end()) return found->second;
  const bool in_a = comparison.a.contains(gate.metric), in_b = comparison.b.contains(gate.metric);
  if (in_a != in_b) {
    throw Error(
        "--non-inferior",
        fmt::format("only {} has {}, {} lacks it", in_a ? "A" : "B", gate.metric, in_a ? "B" : "A"),
        gate.metric == "accuracy" ? "A model without classes has it with eval "
                                    "--tune-threshold or --score-threshold"
                                  : "");
  }
  std::vector<std::string> names;
  for (const auto& [name, interval] : comparison.intervals) names.push_back(name);
  throw Error("--non-inferior", fmt::format("no metric is called {}", gate.metric),
              fmt::format("Known here are {}", fmt::join(names, ", ")));
}

bool holds(const Gate& gate, const Interval& interval) {
  return (gate.relative ? interval.relative_low : interval.low) > gate.margin;
}

bool all_queries(const Comparison& comparison, bool (*test)(const QueryStats&)) {
  return std::ranges::all_of(comparison.a_scores.queries, test) &&
         std::ranges::all_of(comparison.b_scores.queries, test);
}

// Why the metric has nothing that the candidate could lose; empty where it has.
std::string why_empty(const std::string& metric, const Comparison& comparison) {
  const MetricOptions& options = comparison.a_scores.options;
  const bool decides = metric.starts_with("f1@") || metric.starts_with("recall@");
  if (comparison.a.at(metric) == 0 && comparison.b.at(metric) == 0) {
    return "both are 0 on every query, which leaves nothing to lose" +
           (decides ? fmt::format("; labels from {:g} on were relevant: eval --relevant",
                                  options.relevant_label)
                    : "");
  }
  if (decides &&
      all_queries(comparison, [](const QueryStats& q) { return q.retrieved == q.pairs; })) {
    return "neither turned a document down, so that the data alone decides it: eval with a lower "
           "--recall-k, or models without classes with --score-threshold";
  }
  const bool ranks = metric.starts_with("ndcg@") && !comparison.a_scores.collection;
  if (ranks && all_queries(comparison, [](const QueryStats& q) {
        return q.concordant + q.discordant + q.ties == 0;
      })) {
    return "no query has documents with different labels, so that any order is right";
  }
  return "";
}

struct Verdict {
  bool met = false;
  std::string empty;  // of why_empty
};

Verdict judge(const Gate& gate, const Comparison& comparison) {
  const Interval& interval = interval_of(gate, comparison);
  const std::string empty = why_empty(gate.metric, comparison);
  return {empty.empty() && holds(gate, interval), empty};
}

void print_table(const Options& options, const Comparison& comparison, std::ostream& out) {
  out << fmt::format("A  {}\nB  {}\n\n", options.a.string(), options.b.string());
  const std::string range = fmt::format("{:g} % interval", options.confidence * 100);
  Table table({"<metric", "A", "B", "B - A", "<" + range, "relative", "<" + range});
  for (const auto& [name, i] : comparison.intervals) {
    table.add_row({name, fmt::format("{:.4f}", comparison.a.at(name)),
                   fmt::format("{:.4f}", comparison.b.at(name)), format_difference(i.difference, 4),
                   fmt::format("{} .. {}", format_signed(i.low, 4), format_signed(i.high, 4)),
                   format_percent_difference(i.relative),
                   fmt::format("{} .. {}", format_signed_percent(i.relative_low),
                               format_signed_percent(i.relative_high))});
  }
  table.print(out);
  const auto alone = [&](const Metrics& metrics, const char* system) {
    for (const auto& [name, value] : metrics) {
      if (!comparison.intervals.contains(name))
        out << fmt::format("not compared: only {} has {}\n", system, name);
    }
  };
  alone(comparison.a, "A");
  alone(comparison.b, "B");
}

int print_gates(const std::vector<Gate>& gates, const Comparison& comparison, std::ostream& out) {
  int code = kOk;
  for (const Gate& gate : gates) {
    const Interval& interval = interval_of(gate, comparison);
    const auto [met, empty] = judge(gate, comparison);
    if (!met) code = kGateNotMet;
    if (!empty.empty()) {
      out << fmt::format("FAIL  {}: {}\n", gate.metric, empty);
      continue;
    }
    const auto show = [&](double value) {
      return gate.relative ? format_signed(value * 100, 2) + " %" : format_signed(value, 4);
    };
    out << fmt::format("{}  {}: lower end {} {} margin {}\n", met ? "PASS" : "FAIL", gate.metric,
                       show(gate.relative ? interval.relative_low : interval.low),
                       met ? ">" : "<=", show(gate.margin));
  }
  return code;
}

int print_json(const Options& options, const std::vector<Gate>& gates, const Comparison& comparison,
               std::ostream& out) {
  Json metrics = Json::object();
  for (const auto& [name, i] : comparison.intervals) {
    metrics[name] = {{"a", comparison.a.at(name)},
                     {"b", comparison.b.at(name)},
                     {"difference", i.difference},
                     {"low", i.low},
                     {"high", i.high},
                     {"relative", i.relative},
                     {"relative_low", i.relative_low},
                     {"relative_high", i.relative_high}};
  }
  int code = kOk;
  Json verdicts = Json::array();
  for (const Gate& gate : gates) {
    const auto [met, empty] = judge(gate, comparison);
    if (!met) code = kGateNotMet;
    verdicts.push_back({{"metric", gate.metric},
                        {"margin", gate.margin},
                        {"relative", gate.relative},
                        {"met", met}});
    if (!empty.empty()) verdicts.back()["reason"] = empty;
  }
  const Json json = {{"a", options.a.string()},
                     {"b", options.b.string()},
                     {"confidence", options.confidence},
                     {"resamples", options.resamples},
                     {"metrics", metrics},
                     {"gates", verdicts}};
  out << json_text(json, 2) << '\n';
  return code;
}

int run_compare(const Options& options, Console& console) {
  std::vector<Gate> gates;
  for (const std::string& text : options.gates) gates.push_back(*parse_gate(text));
  std::error_code ignored;
  if (std::filesystem::equivalent(options.a, options.b, ignored)) {
    throw Error(options.b.string(), "is the baseline itself, which nothing can fail",
                "Name the scores of the candidate");
  }
  const Comparison comparison = compare(options);
  if (options.json) return print_json(options, gates, comparison, console.out());
  print_table(options, comparison, console.out());
  if (!gates.empty()) console.out() << '\n';
  return print_gates(gates, comparison, console.out());
}

}  // namespace

Command add_compare(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      root.add_subcommand("compare", "Compare two evaluations query by query; a release gate");
  app->footer(kExamples);
  app->add_option("a", options->a, "Scores of the baseline")->required()->type_name("FILE");
  app->add_option("b", options->b, "Scores of the candidate")->required()->type_name("FILE");
  app->add_option("--non-inferior", options->gates,
                  "METRIC=-N% (relative) or METRIC=-N; may be repeated")
      ->type_name("GATE")
      ->take_all()
      ->check(CLI::Validator(check_gate, "", "gate"));
  app->add_option("--resamples", options->resamples, "Bootstrap resamples")
      ->capture_default_str()
      ->check(CLI::Range(100, 1000000));
  app->add_option("--confidence", options->confidence, "Of the intervals")
      ->capture_default_str()
      ->check(number_between(0.5, 0.9999));
  app->add_option("--seed", options->seed, "Of the bootstrap")
      ->capture_default_str()
      ->check(whole_number());
  app->add_flag("--json", options->json, "For machines");
  return {app, [options, &console] { return run_compare(*options, console); }};
}

}  // namespace twofour::cli
