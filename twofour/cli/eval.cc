#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/engine_options.h"
#include "twofour/cli/format.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/pair_scoring.h"
#include "twofour/cli/performance_metrics.h"
#include "twofour/cli/stopwatch.h"
#include "twofour/cli/table.h"
#include "twofour/cli/validators.h"
#include "twofour/graph/inspect.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/metrics/scores_file.h"
#include "twofour/metrics/trec.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(DATA is TSV (header: query, document, label), JSONL, or a BEIR qrels file; *.zst too.
pnr: concordant / discordant pairs of one query with different labels, pooled; ties count for neither; inf (null in
JSON) where none is discordant. ndcg: gain 2^label - 1. f1, recall: labels from --relevant on, among the first
--recall-k of each query by score (345, as in NVIDIA's article on structured sparsity in search engines) those that the
model calls relevant, a classifier by the label that it predicts, others by --score-threshold; so a classifier's recall
may be below 1 in lists shorter than that. twofour train evaluates with the defaults.
Ids: where DATA has no query_id and document_id, texts are numbered by place: q1, d1. Files of --scores, and those of --run
with such numbers, keep a checksum of their data, and other data is refused, DATA with its rows in another order too. A run
of another program keeps none: numbers in it that DATA has as well are taken for DATA's, so give DATA ids.

Examples:
  twofour eval runs/sparse/model test.tsv
  twofour eval runs/sparse/model test.tsv --scores sparse.jsonl.zst --run sparse.trec.zst --out runs/sparse/eval.json
  twofour eval --trec-run bm25.trec test.tsv --scores bm25.jsonl.zst
  twofour eval --trec-run search.trec all-relevant.tsv --collection --recall-k 100   # of a whole collection
  twofour eval embedder dev.tsv --tune-threshold f1        # then: eval embedder test.tsv --score-threshold T
  twofour eval predictor performance.tsv --performance --costly reranked.jsonl.zst   # query performance prediction
  twofour eval --pool fold1.jsonl.zst fold2.jsonl.zst --scores all.jsonl.zst         # folds as one)";

struct Options {
  std::vector<std::filesystem::path> inputs;  // MODEL DATA, or DATA with --trec-run
  std::filesystem::path trec_run, scores, run, out;
  std::vector<std::filesystem::path> pool;  // in place of inputs
  CostlyDelivery delivery;
  bool collection = false, performance = false;
  std::string tune;  // a criterion, or empty
  int threads = 0;
  int64_t max_length = 0;
  EngineOptions engine;
  MetricOptions metric;
  std::optional<float> relevant;  // else by the data
  bool json = false;
};

struct Evaluation {
  std::string system, origin;
  MetricOptions metric;
  Dataset data;
  std::vector<ScoredPair> pairs;
  std::vector<QueryStats> queries;
  bool collection = false;  // of rankings of a whole collection
  Metrics metrics;
  Json speed = Json::object();  // and sizes; empty for an existing run
};

// Of a model with classes.
void check_threshold_unasked(const Options& options) {
  const char* option = !options.tune.empty()                           ? "--tune-threshold"
                       : std::isfinite(options.metric.score_threshold) ? "--score-threshold"
                                                                       : nullptr;
  if (option == nullptr) return;
  throw Error(options.inputs.front().string(), "has classes: they decide, not a threshold",
              fmt::format("Leave {} out", option));
}

void score_with_model(const Options& options, Evaluation& evaluation, Console& console) {
  const ModelDirectory model = ModelDirectory::open(options.inputs.front());
  const auto engine = load_engine(model, options.engine, console);
  const int threads = options.threads > 0 ? options.threads : available_cores();
  PairScoring scoring(options.inputs.front(), engine,
                      {.threads = threads, .max_length = options.max_length});
  if (scoring.has_classes()) check_threshold_unasked(options);
  evaluation.data = read_dataset(
      options.inputs.back(), {.num_labels = scoring.has_classes() ? engine->config().num_labels : 0,
                              .labels_of = model.origin()});
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
  const ModelReport sizes = inspect_model(engine->network(), model);
  evaluation.speed = {{"threads", threads},
                      {"seconds", seconds},
                      {"pairs_per_second", static_cast<double>(scores.size()) / seconds},
                      {"memory_bytes", engine->packed_bytes()},
                      {"weight_file_bytes", sizes.weight_file_bytes},
                      {"matrix_bytes_now", sizes.matrix_bytes_now}};
  evaluation.speed.update(engine_options_json(*engine));
}

// Of a run that belongs to the data; runs over a collection rank what nobody judged.
void check_run(const Options& options, const TrecRun& run, const Dataset& data, Console& console) {
  const std::string path = options.trec_run.string();
  const auto [queries, pairs, unranked] = match_run(options.trec_run, run, data);
  const auto warn = [&](const Unmatched& some, std::string_view how) {
    if (some.count > 0) {
      console.log(LogLevel::kWarning, fmt::format("{} of {} queries of {}, the first is {}",
                                                  some.count, some.total, how, some.first));
    }
  };
  warn(queries, fmt::format("{} are not in {}, and passed over", path, data.origin));
  if (options.collection) {
    warn(unranked, fmt::format("{} are not in {}: nothing was found for them", data.origin, path));
  } else if (pairs.count > 0) {
    throw Error(path,
                fmt::format("{} of {} pairs of the run are not in {}, the first is {}", pairs.count,
                            pairs.total, data.origin, pairs.first),
                "Name the data that the run was made on; --collection counts what DATA does not "
                "judge as not relevant");
  }
}

void score_with_run(const Options& options, Evaluation& evaluation, Console& console) {
  evaluation.system = options.trec_run.string();
  evaluation.data = read_dataset(options.inputs.back());
  const TrecRun run = read_trec_run(options.trec_run);
  check_run(options, run, evaluation.data, console);
  evaluation.pairs = options.collection ? pairs_of_collection_run(run, evaluation.data)
                                        : pairs_of_run(run, evaluation.data);
}

void tune_threshold(const std::string& criterion, Evaluation& evaluation) {
  evaluation.metric.score_threshold =
      best_threshold(evaluation.pairs, criterion == "f1" ? Criterion::kF1 : Criterion::kAccuracy,
                     evaluation.metric);
}

Evaluation pooled(const Options& options) {
  QueryScores scores = pool_scores_files(options.pool);
  Evaluation evaluation;
  evaluation.system = scores.system;
  evaluation.origin = counted(std::ssize(options.pool), "score file");
  evaluation.metric = scores.options;
  evaluation.collection = scores.collection;
  evaluation.queries = std::move(scores.queries);
  evaluation.metrics = aggregate(evaluation.queries, evaluation.metric);
  return evaluation;
}

Evaluation evaluate(const Options& options, Console& console) {
  if (!options.pool.empty()) return pooled(options);
  Evaluation evaluation;
  evaluation.origin = options.inputs.back().string();
  evaluation.metric = options.metric;
  evaluation.collection = options.collection;
  if (options.trec_run.empty()) {
    evaluation.system = options.inputs.front().string();
    score_with_model(options, evaluation, console);
  } else {
    score_with_run(options, evaluation, console);
  }
  if (const std::string note = repeated_pairs_note(evaluation.data); !note.empty())
    console.info(note);
  evaluation.metric.relevant_label =
      options.relevant.value_or(default_relevant_label(evaluation.data.pairs));
  if (!options.tune.empty()) tune_threshold(options.tune, evaluation);
  evaluation.queries = query_stats(evaluation.pairs, evaluation.data.query_ids, evaluation.metric);
  evaluation.metrics = aggregate(evaluation.queries, evaluation.metric);
  if (options.performance) {
    evaluation.metrics = performance_metrics(evaluation.pairs, evaluation.data, options.delivery);
  }
  return evaluation;
}

int64_t num_pairs(const Evaluation& evaluation) {
  int64_t pairs = 0;
  for (const QueryStats& query : evaluation.queries) pairs += query.pairs;
  return pairs;
}

bool has_decisions(const Evaluation& evaluation) {
  return evaluation.metrics.contains(fmt::format("f1@{}", evaluation.metric.recall_k));
}

Json to_json(const Evaluation& evaluation) {
  Json json = {{"system", evaluation.system},
               {"data", evaluation.origin},
               {"queries", evaluation.queries.size()},
               {"pairs", num_pairs(evaluation)},
               {"metrics", evaluation.metrics}};
  if (has_decisions(evaluation)) json["relevant_label"] = evaluation.metric.relevant_label;
  if (std::isfinite(evaluation.metric.score_threshold))
    json["score_threshold"] = evaluation.metric.score_threshold;
  json.update(evaluation.speed);
  return json;
}

void write_run(const std::filesystem::path& path, const Evaluation& evaluation) {
  TrecRun run;
  run.tag = run_tag(evaluation.data);
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
  out << fmt::format("\n{} of {}", counted(num_pairs(evaluation), "pair"),
                     counted(std::ssize(evaluation.queries), "query"));
  if (has_decisions(evaluation))
    out << fmt::format(", relevant from label {:g} on", evaluation.metric.relevant_label);
  if (std::isfinite(evaluation.metric.score_threshold))
    out << fmt::format(", score threshold {}", evaluation.metric.score_threshold);
  if (!evaluation.speed.empty()) {
    const double seconds = evaluation.speed["seconds"];
    out << fmt::format(" in {:.1f} s: {:.1f} pairs/s, {}", seconds,
                       evaluation.speed["pairs_per_second"].get<double>(),
                       counted(evaluation.speed["threads"].get<int>(), "thread"));
  }
  out << '\n';
}

void check_outputs(const Options& options) {
  std::vector<std::filesystem::path> inputs = options.inputs;
  inputs.insert(inputs.end(), options.pool.begin(), options.pool.end());
  inputs.insert(inputs.end(), {options.trec_run, options.delivery.scores, options.engine.engine});
  // What a file of BEIR's judgments is read with.
  for (const auto& data : options.inputs) {
    const auto folder = data.parent_path().parent_path();
    for (const char* name :
         {"corpus.jsonl", "corpus.jsonl.zst", "queries.jsonl", "queries.jsonl.zst"})
      inputs.push_back(folder / name);
  }
  check_output_files({options.run, options.scores, options.out}, inputs);
}

int run_eval(const Options& options, Console& console) {
  check_outputs(options);
  const Evaluation evaluation = evaluate(options, console);
  if (!options.scores.empty()) {
    const auto checksum = options.pool.empty() ? pairs_checksum(evaluation.data) : "";
    write_scores_file(options.scores, {evaluation.system, evaluation.metric, evaluation.queries,
                                       evaluation.collection, checksum});
  }
  if (!options.run.empty()) write_run(options.run, evaluation);
  const Json json = to_json(evaluation);
  if (!options.out.empty()) write_file_atomically(options.out, json_text(json, 2) + "\n");
  if (options.json)
    console.out() << json_text(json, 2) << '\n';
  else
    print_table(evaluation, console.out());
  return kOk;
}

// MODEL DATA, DATA alone beside --trec-run, nothing beside --pool: CLI11 cannot say that of
// positionals.
void check_inputs(const Options& options) {
  const size_t given = options.inputs.size();
  if (!options.pool.empty() && given > 0)
    throw CLI::ValidationError("eval --pool takes score files alone");
  if (options.pool.empty() && options.trec_run.empty() && given != 2)
    throw CLI::ValidationError("eval takes MODEL and DATA");
  if (!options.trec_run.empty() && given == 0)
    throw CLI::ValidationError("eval --trec-run takes DATA, which is missing");
  if (!options.trec_run.empty() && given != 1)
    throw CLI::ValidationError("eval --trec-run takes DATA alone");
}

}  // namespace

Command add_eval(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app = root.add_subcommand(
      "eval", "Ranking and classification metrics of a model on labelled pairs");
  app->footer(kExamples);
  app->add_option("inputs", options->inputs, "MODEL and DATA; DATA alone with --trec-run")
      ->expected(1, 2)
      ->type_name("MODEL DATA");
  add_engine_options(*app, options->engine);
  auto* trec_run =
      app->add_option("--trec-run", options->trec_run, "Evaluate this TREC run instead of a model")
          ->type_name("FILE");
  app->add_flag("--collection", options->collection,
                "The run ranks a whole collection: what it does not hold was not found, what DATA "
                "does not judge has label 0")
      ->needs(trec_run);
  auto* performance = app->add_flag(
      "--performance", options->performance,
      "DATA has one row for each query, whose label is how well the query does: metrics say how "
      "well scores predict that");
  auto* costly =
      app->add_option("--costly", options->delivery.scores,
                      "Scores of a costly delivery: how well queries do if a share of them, those "
                      "with the lowest predictions, gets it and the others do as their labels say. "
                      "Queries are known by their ids")
          ->type_name("FILE")
          ->needs(performance);
  app->add_option("--share", options->delivery.share, "Queries that get the costly delivery")
      ->capture_default_str()
      ->check(number_between(0, 1))
      ->needs(costly);
  auto* run = app->add_option("--run", options->run, "Write a TREC run (.zst is compressed)")
                  ->type_name("FILE")
                  ->check(path_name())
                  ->excludes(trec_run);
  auto* tune = app->add_option("--tune-threshold", options->tune,
                               "Models without classes: choose the score threshold with the best "
                               "value on this data: accuracy or f1")
                   ->check(CLI::IsMember({"accuracy", "f1"}));
  auto* pool =
      app->add_option("--pool", options->pool,
                      "Score files over different queries, as one: the folds of a cross-validation")
          ->type_name("FILE")
          ->excludes(trec_run)
          ->excludes(run)
          ->excludes(tune)
          ->excludes(performance);
  auto* scores = app->add_option("--scores", options->scores,
                                 "Write per-query scores for compare (.jsonl, .jsonl.zst)")
                     ->type_name("FILE")
                     ->check(path_name());
  performance->excludes(scores)->excludes(tune);
  app->add_option("--out", options->out,
                  "Write the result as JSON, e.g. RUN/eval.json for the report")
      ->type_name("FILE")
      ->check(path_name());
  app->add_option("--threads", options->threads, "CPU threads [all cores]")
      ->check(CLI::Range(1, 1024));
  app->add_option("--max-length", options->max_length, "Tokens of a pair [the model's]")
      ->check(positive_number());
  app->add_option("--ndcg-k", options->metric.ndcg_k, "Cut-off of ndcg")
      ->capture_default_str()
      ->check(positive_number());
  app->add_option("--recall-k", options->metric.recall_k, "Cut-off of f1 and recall")
      ->capture_default_str()
      ->check(positive_number());
  app->add_option(
         "--relevant", options->relevant,
         "Labels from here on are relevant [2; 1 where that is the largest of whole numbers]")
      ->check(finite_number());
  app->add_option("--score-threshold", options->metric.score_threshold,
                  "Models without classes: scores from here on count as relevant [any]")
      ->check(finite_number())
      ->excludes(tune);
  // What was evaluated already is not measured anew.
  for (const char* name : {"--threads", "--max-length", "--precision", "--attention",
                           "--activation-scales", "--device", "--plans", "--backend", "--engine"}) {
    trec_run->excludes(name);
    pool->excludes(name);
  }
  for (const char* name : {"--ndcg-k", "--recall-k", "--relevant", "--score-threshold"})
    pool->excludes(name);
  app->add_flag("--json", options->json, "For machines");
  app->callback([options] { check_inputs(*options); });
  return {app, [options, &console] { return run_eval(*options, console); }};
}

}  // namespace twofour::cli
