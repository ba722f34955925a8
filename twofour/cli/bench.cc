#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <random>
#include <set>

#include "twofour/base/cpu_features.h"
#include "twofour/cli/command.h"
#include "twofour/cli/stopwatch.h"
#include "twofour/cli/table.h"
#include "twofour/io/file.h"
#include "twofour/runtime/engine.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWarmUps = 3;

constexpr const char* kExamples =
    R"(Runs batches of random tokens through the engine: no tokenizer, no padding. spread is the interquartile range
over the median. With --against, runs of both models alternate; ratio is the other's time over this model's,
the median over pairs of runs with their quartiles: above 1, MODEL is faster.

Examples:
  twofour bench runs/sparse/model --batch 1,8 --tokens 32,128 --threads 1,2
  twofour bench runs/sparse/model --against runs/dense/model --json)";

struct Options {
  std::filesystem::path model, against, out;
  std::vector<int64_t> batches{1, 8}, tokens{32, 128};
  std::vector<int> threads{1};
  int repeat = 30;
  bool json = false;
};

struct Case {
  int64_t batch, tokens;
  int threads;
};

struct Timing {
  double median_ms = 0, p95_ms = 0, spread = 0;
};

struct Result {
  Case shape;
  Timing model, other{};
  double ratio = 0, ratio_low = 0, ratio_high = 0;  // with --against
};

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double position = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (position - static_cast<double>(below));
}

Timing summarize(const std::vector<double>& ms) {
  const double median = quantile(ms, 0.5);
  return {median, quantile(ms, 0.95), (quantile(ms, 0.75) - quantile(ms, 0.25)) / median};
}

// One model with a batch to run.
class Runner {
 public:
  Runner(const std::shared_ptr<const Engine>& engine, const Case& shape)
      : session_(engine, {.threads = shape.threads}) {
    const Network& network = engine->network();
    const bool by_token = network.values[network.output].rows == Rows::kTokens;  // without a head
    output_.resize(shape.batch * (by_token ? shape.tokens : 1) * engine->output_width());
    std::mt19937 random(1);  // the same tokens each time
    ids_.resize(shape.batch * shape.tokens);
    for (int32_t& id : ids_)
      id = static_cast<int32_t>(random() % static_cast<uint64_t>(network.vocab_size));
    type_ids_.assign(ids_.size(), 0);
    for (int64_t i = 0; i <= shape.batch; ++i)
      offsets_.push_back(static_cast<int32_t>(i * shape.tokens));
  }

  double run_ms() {
    const Stopwatch watch;
    session_.run({ids_, type_ids_, offsets_}, output_);
    return watch.seconds() * 1e3;
  }

 private:
  Session session_;
  std::vector<float> output_;
  std::vector<int32_t> ids_, type_ids_, offsets_;
};

Result measure(const Options& options, const Case& shape,
               const std::shared_ptr<const Engine>& model,
               const std::shared_ptr<const Engine>& other) {
  Runner runner(model, shape);
  std::optional<Runner> against;
  if (other) against.emplace(other, shape);
  std::vector<double> ms, other_ms, ratios;
  for (int i = -kWarmUps; i < options.repeat; ++i) {
    const double a = runner.run_ms();
    const double b = against ? against->run_ms() : 0;
    if (i < 0) continue;
    ms.push_back(a);
    other_ms.push_back(b);
    ratios.push_back(b / a);
  }
  Result result{shape, summarize(ms)};
  if (against) {
    result.other = summarize(other_ms);
    result.ratio = quantile(ratios, 0.5);
    result.ratio_low = quantile(ratios, 0.25);
    result.ratio_high = quantile(ratios, 0.75);
  }
  return result;
}

double per_second(const Result& result) {
  return static_cast<double>(result.shape.batch) * 1e3 / result.model.median_ms;
}

std::set<std::string> kernels_of(const Engine& engine) {
  std::set<std::string> kernels;
  for (const LayerInfo& layer : engine.layers()) kernels.insert(layer.kernel);
  return kernels;
}

Json to_json(const Options& options, const Engine& model, const std::vector<Result>& results) {
  Json rows = Json::array();
  for (const Result& r : results) {
    Json row = {{"batch", r.shape.batch},
                {"tokens", r.shape.tokens},
                {"threads", r.shape.threads},
                {"median_ms", r.model.median_ms},
                {"p95_ms", r.model.p95_ms},
                {"spread", r.model.spread},
                {"sequences_per_second", per_second(r)}};
    if (!options.against.empty()) {
      row["against"] = {{"median_ms", r.other.median_ms},
                        {"ratio", r.ratio},
                        {"ratio_low", r.ratio_low},
                        {"ratio_high", r.ratio_high}};
    }
    rows.push_back(std::move(row));
  }
  Json json = {{"model", options.model.string()},
               {"cpu", cpu_name()},
               {"features", cpu_features().names()},
               {"kernels", kernels_of(model)},
               {"memory_bytes", model.packed_bytes()},
               {"repeat", options.repeat},
               {"results", std::move(rows)}};
  if (!options.against.empty()) json["against"] = options.against.string();
  return json;
}

void print_table(const Options& options, const Engine& model, const std::vector<Result>& results,
                 std::ostream& out) {
  out << fmt::format("cpu      {} ({})\nkernels  {}\nruns     {} each after {} to warm up\n\n",
                     cpu_name(), fmt::join(cpu_features().names(), ", "),
                     fmt::join(kernels_of(model), ", "), options.repeat, kWarmUps);
  std::vector<std::string> headers{"batch",  "tokens",   "threads",    "median ms",
                                   "p95 ms", "spread %", "sequences/s"};
  if (!options.against.empty()) headers.insert(headers.end(), {"other ms", "ratio", "<quartiles"});
  Table table(headers);
  for (const Result& r : results) {
    std::vector<std::string> row{
        std::to_string(r.shape.batch),         std::to_string(r.shape.tokens),
        std::to_string(r.shape.threads),       fmt::format("{:.3f}", r.model.median_ms),
        fmt::format("{:.3f}", r.model.p95_ms), fmt::format("{:.1f}", r.model.spread * 100),
        fmt::format("{:.1f}", per_second(r))};
    if (!options.against.empty()) {
      row.push_back(fmt::format("{:.3f}", r.other.median_ms));
      row.push_back(fmt::format("{:.2f}", r.ratio));
      row.push_back(fmt::format("{:.2f} .. {:.2f}", r.ratio_low, r.ratio_high));
    }
    table.add_row(std::move(row));
  }
  table.print(out);
}

std::vector<Case> cases_of(const Options& options) {
  std::vector<Case> cases;
  for (int threads : options.threads) {
    for (int64_t batch : options.batches) {
      for (int64_t tokens : options.tokens) cases.push_back({batch, tokens, threads});
    }
  }
  return cases;
}

int run_bench(const Options& options, Console& console) {
  const auto model = Engine::load(options.model);
  const auto other = options.against.empty() ? nullptr : Engine::load(options.against);
  const auto cases = cases_of(options);
  const Stopwatch watch;
  std::vector<Result> results;
  for (const Case& shape : cases) {
    results.push_back(measure(options, shape, model, other));
    console.progress("bench", static_cast<int64_t>(results.size()),
                     static_cast<int64_t>(cases.size()), "cases", watch.seconds());
  }
  console.end_progress();
  const Json json = to_json(options, *model, results);
  if (!options.out.empty()) write_file_atomically(options.out, json.dump(2) + "\n");
  if (options.json)
    console.out() << json.dump(2) << '\n';
  else
    print_table(options, *model, results, console.out());
  return kOk;
}

}  // namespace

Command add_bench(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      root.add_subcommand("bench", "Latency and sequences a second of a model on this machine");
  app->footer(kExamples);
  app->add_option("model", options->model, "Model directory")->required()->type_name("MODEL");
  app->add_option("--against", options->against, "Another model, run in turns with this one")
      ->type_name("MODEL");
  app->add_option("--batch", options->batches, "Sequences in a batch, a list")
      ->capture_default_str()
      ->delimiter(',')
      ->check(CLI::Range(1, 65536));
  app->add_option("--tokens", options->tokens, "Tokens of a sequence, a list")
      ->capture_default_str()
      ->delimiter(',')
      ->check(CLI::Range(1, 65536));
  app->add_option("--threads", options->threads, "CPU threads, a list")
      ->capture_default_str()
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  app->add_option("--repeat", options->repeat, "Measured runs of each case")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app->add_option("--out", options->out,
                  "Write the result as JSON, e.g. RUN/bench.json for the report")
      ->type_name("FILE");
  app->add_flag("--json", options->json, "For machines");
  return {app, [options, &console] { return run_bench(*options, console); }};
}

}  // namespace twofour::cli
