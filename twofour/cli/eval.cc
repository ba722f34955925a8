#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/engine_options.h"
#include "twofour/cli/format.h"
#include "twofour/cli/pair_scoring.h"
#include "twofour/cli/stopwatch.h"
#include "twofour/cli/table.h"
#include "twofour/io/file.h"
#include "twofour/metrics/scores_file.h"
#include "twofour/metrics/trec.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(DATA is TSV (header: query, document, label), JSONL, or a BEIR qrels file; *.zst too.
pnr: concordant / discordant pairs of one query with different labels, pooled; ties count for neither.
ndcg: gain 2^label - 1. f1, recall: labels from --relevant on, among the first --recall-k of each query.

Examples:
  twofour eval runs/sparse/model test.tsv
  twofour eval runs/sparse/model test.tsv --scores sparse.jsonl.zst --run sparse.trec.zst --out runs/sparse/eval.json
  twofour eval --trec-run bm25.trec test.tsv --scores bm25.jsonl.zst)";

struct Options {
  std::vector<std::filesystem::path> inputs;  // MODEL DATA, or DATA with --trec-run
  std::filesystem::path trec_run, scores, run, out;
  int threads = 0;
  int64_t max_length = 0;
  EngineOptions engine;
  MetricOptions metric;
  bool json = false;
};

struct Evaluation {
  std::string system;
  Dataset data;
  std::vector<ScoredPair> pairs;
  std::vector<QueryStats> queries;
  Metrics metrics;
  Json speed = Json::object();  // empty for an existing run
};

void score_with_model(const Options& options, Evaluation& evaluation, Console& console) {
  const auto engine = Engine::load(options.inputs.front(), options.engine);
  const int threads = options.threads > 0 ? options.threads : available_cores();
  PairScoring scoring(engine, {.threads = threads, .max_length = options.max_length});
  evaluation.data =
      read_dataset(options.inputs.back(),
                   {.num_labels = scoring.has_classes() ? engine->config().num_labels : 0});
  const Stopwatch watch;
  const auto scores = scoring.score(evaluation.data, [&](int64_t done, int64_t total) {
    console.progress("eval", done, total, scoring.embeds() ? "documents" : "pairs",
                     watch.seconds());
  });
  const double seconds = watch.seconds();
  console.end_progress();
  for (size_t i = 0; i < scores.size(); ++i) {
    const Pair& pair = evaluation.data.pairs[i];
    evaluation.pairs.push_back({pair.query, pair.label, scores[i].score, scores[i].predicted});
  }
  evaluation.speed = {{"threads", threads},
                      {"seconds", seconds},
                      {"pairs_per_second", static_cast<double>(scores.size()) / seconds},
                      {"memory_bytes", engine->packed_bytes()}};
  evaluation.speed.update(engine_options_json(*engine));
}

Evaluation evaluate(const Options& options, Console& console) {
  Evaluation evaluation;
  if (options.trec_run.empty()) {
    evaluation.system = options.inputs.front().string();
    score_with_model(options, evaluation, console);
  } else {
    evaluation.system = options.trec_run.string();
    evaluation.data = read_dataset(options.inputs.back());
    evaluation.pairs = pairs_of_run(read_trec_run(options.trec_run), evaluation.data);
  }
  evaluation.queries = query_stats(evaluation.pairs, evaluation.data.query_ids, options.metric);
  evaluation.metrics = aggregate(evaluation.queries, options.metric);
  return evaluation;
}

Json to_json(const Options& options, const Evaluation& evaluation) {
  Json json = {{"system", evaluation.system},
               {"data", options.inputs.back().string()},
               {"queries", evaluation.queries.size()},
               {"pairs", evaluation.pairs.size()},
               {"metrics", evaluation.metrics}};
  json.update(evaluation.speed);
  return json;
}

void write_run(const std::filesystem::path& path, const Evaluation& evaluation) {
  TrecRun run;
  run.tag = "twofour";
  for (size_t i = 0; i < evaluation.pairs.size(); ++i) {
    const Pair& pair = evaluation.data.pairs[i];
    run.rows.push_back({evaluation.data.query_ids[pair.query],
                        evaluation.data.document_ids[pair.document], evaluation.pairs[i].score});
  }
  write_trec_run(path, run);
}

void print_table(const Evaluation& evaluation, std::ostream& out) {
  Table table({"<metric", "value"});
  for (const auto& [name, value] : evaluation.metrics) {
    const bool count = name == "pnr_ties";
    table.add_row({name, count ? fmt::format("{:.0f}", value) : fmt::format("{:.4f}", value)});
  }
  table.print(out);
  out << fmt::format("\n{} pairs of {} queries", evaluation.pairs.size(),
                     evaluation.queries.size());
  if (!evaluation.speed.empty()) {
    const double seconds = evaluation.speed["seconds"];
    out << fmt::format(" in {:.1f} s: {:.1f} pairs/s, {} threads", seconds,
                       evaluation.speed["pairs_per_second"].get<double>(),
                       evaluation.speed["threads"].get<int>());
  }
  out << '\n';
}

int run_eval(const Options& options, Console& console) {
  const Evaluation evaluation = evaluate(options, console);
  if (!options.scores.empty()) {
    write_scores_file(options.scores, {evaluation.system, options.metric, evaluation.queries});
  }
  if (!options.run.empty()) write_run(options.run, evaluation);
  const Json json = to_json(options, evaluation);
  if (!options.out.empty()) write_file_atomically(options.out, json.dump(2) + "\n");
  if (options.json)
    console.out() << json.dump(2) << '\n';
  else
    print_table(evaluation, console.out());
  return kOk;
}

// MODEL DATA, but DATA alone beside --trec-run: CLI11 cannot say that of positionals.
void check_inputs(const Options& options) {
  const size_t expected = options.trec_run.empty() ? 2 : 1;
  if (options.inputs.size() == expected) return;
  throw CLI::ValidationError(expected == 2 ? "eval takes MODEL and DATA"
                                           : "eval --trec-run takes DATA alone");
}

}  // namespace

Command add_eval(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app = root.add_subcommand(
      "eval", "Ranking and classification metrics of a model on labelled pairs");
  app->footer(kExamples);
  app->add_option("inputs", options->inputs, "MODEL and DATA; DATA alone with --trec-run")
      ->required()
      ->expected(1, 2)
      ->type_name("MODEL DATA");
  add_engine_options(*app, options->engine);
  app->add_option("--trec-run", options->trec_run, "Evaluate this TREC run instead of a model")
      ->type_name("FILE");
  app->add_option("--scores", options->scores,
                  "Write per-query scores for compare (.jsonl, .jsonl.zst)")
      ->type_name("FILE");
  app->add_option("--run", options->run, "Write a TREC run (.zst is compressed)")
      ->type_name("FILE");
  app->add_option("--out", options->out,
                  "Write the result as JSON, e.g. RUN/eval.json for the report")
      ->type_name("FILE");
  app->add_option("--threads", options->threads, "CPU threads [all cores]")
      ->check(CLI::Range(1, 1024));
  app->add_option("--max-length", options->max_length, "Tokens of a pair [the model's]")
      ->check(CLI::PositiveNumber);
  app->add_option("--ndcg-k", options->metric.ndcg_k, "Cut-off of ndcg")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--recall-k", options->metric.recall_k, "Cut-off of f1 and recall")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--relevant", options->metric.relevant_label, "Labels from here on are relevant")
      ->capture_default_str();
  app->add_option("--score-threshold", options->metric.score_threshold,
                  "Models without classes: scores from here on count as retrieved [any]");
  app->add_flag("--json", options->json, "For machines");
  app->callback([options] { check_inputs(*options); });
  return {app, [options, &console] { return run_eval(*options, console); }};
}

}  // namespace twofour::cli
