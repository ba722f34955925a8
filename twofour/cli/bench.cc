#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/cli/as_if_model.h"
#include "twofour/cli/bench_gemm.h"
#include "twofour/cli/bench_layers.h"
#include "twofour/cli/bench_models.h"
#include "twofour/cli/bench_sessions.h"
#include "twofour/cli/command.h"
#include "twofour/cli/engine_options.h"
#include "twofour/cli/format.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/page.h"
#include "twofour/cli/page_assets.h"
#include "twofour/cli/stopwatch.h"
#include "twofour/cli/validators.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(Runs batches of random tokens through the engine: no tokenizer, no padding. spread is the interquartile range
over the median; one run has none, and one pair of runs no quartiles. With --against, runs of both models alternate;
ratio is the other's time over this model's, the median over pairs of runs with their quartiles: above 1, MODEL is
faster. --precision and --attention are MODEL's; the other runs as it does by default, so that a model can be measured
against itself.

--device cuda:0 runs on a GPU, the other model too. A run is then what a caller waits for: the batch's way there, its
work and the results' way back; a batch that comes again is one CUDA graph, so warm-up ends before runs count.

--backend tensorrt --engine FILE.plan runs MODEL by TensorRT, with an engine that build-engine made of it; with
--device cuda:0 too, the other model runs by the library's own kernels on the same GPU.

--sessions runs several sessions of one loaded model at once, as a server does, each with --threads: times are of
one batch while all are busy, scaling is the throughput over so many times that of one session alone in the same
round.

--as-if measures what a dense float model would gain on this machine's CPU if it were trained to be int8, or 2:4
sparse and int8: the model so changed against the model as it is, and the products of each shape of layer alone,
with --share-rows neighbouring rows sharing (in a recipe: pairing: adjacent, or nearby, which CPUs run as fast),
at the first batch, tokens and threads, with the scales that --activation-scales names. Alone, a large batch leaves
the cache in which the engine's chunks stay, so shares of the dense model's time may add up to more than 100 %. Like
--gemm it takes no --device or --backend and passes over TWOFOUR_DEVICE and TWOFOUR_BACKEND.

--gemm needs no model: the products of MiniLM and BERT-base layers with random weights, every kernel of this
machine in turns, one thread, beside oneDNN 3 where its library is there (libdnnl.so.3, or what TWOFOUR_ONEDNN
names; onednn_uint8 has its int8 inputs moved up by 128). GOPS count as for a dense matrix; ratio is the time of the
best dense one of the type, ours or oneDNN's, over this one's; the peak is that of the kernel's instruction on
registers alone, which a sparse kernel may exceed, since it skips half of the counted operations.

Examples:
  twofour bench runs/sparse/model --batch 1,8 --tokens 32,128 --threads 1,2
  twofour bench runs/sparse/model --against runs/dense/model --json
  twofour bench runs/sparse/model --sessions 1,2,4 --batch 8 --tokens 64
  twofour bench my-model --precision bf16 --attention bf16 --against my-model
  twofour bench my-model --as-if sparse-int8 --share-rows 2 --plot as-if.html
  twofour bench runs/sparse/model --device cuda:0 --batch 1,8,128 --tokens 128
  twofour bench my-model --backend tensorrt --engine my-model.plan --device cuda:0 --against my-model
  twofour bench --gemm --tokens 1,64)";

constexpr const char* kNoQuality =
    "pruned and quantized without training or calibration: the speed counts, the quality is "
    "meaningless";

struct Options {
  std::filesystem::path model, against, out, plot;
  EngineOptions engine;
  std::string as_if;
  int share_rows = 1;
  bool gemm = false;
  std::vector<int64_t> batches{1, 8}, tokens;
  std::vector<int> threads{1}, sessions;
  int repeat = 30;
  bool json = false;
};

struct Measured {
  std::shared_ptr<const Engine> model, other;  // other may be null
  std::vector<ModelResult> results;
  std::vector<LayerResult> layers;  // with --as-if
};

std::set<std::string> kernels_of(const Engine& engine) {
  std::set<std::string> kernels;
  for (const LayerInfo& layer : engine.layers()) kernels.insert(layer.kernel);
  return kernels;
}

Json machine_json() { return {{"cpu", cpu_name()}, {"features", cpu_features().names()}}; }

Json as_if_json(const Options& options) {
  Json json = {{"scheme", options.as_if}};
  if (options.as_if == "sparse-int8") json["share_rows"] = options.share_rows;
  json["note"] = kNoQuality;
  return json;
}

Json model_json(const Options& options, const Engine& engine) {
  Json json = {{"model", options.model.string()}};
  json.update(machine_json());
  json["kernels"] = kernels_of(engine);
  json.update(engine_options_json(engine));
  json["memory_bytes"] = engine.packed_bytes();
  json["repeat"] = options.repeat;
  return json;
}

Json to_json(const Options& options, const Measured& measured) {
  Json json = model_json(options, *measured.model);
  json["results"] = to_json(measured.results, measured.other != nullptr);
  if (!options.against.empty()) json["against"] = options.against.string();
  if (!options.as_if.empty()) {
    json["against"] = options.model.string();
    json["against_kernels"] = kernels_of(*measured.other);
    json["against_memory_bytes"] = measured.other->packed_bytes();
    json["as_if"] = as_if_json(options);
    json["layers"] = to_json(measured.layers);
  }
  return json;
}

void print_machine(std::ostream& out) {
  out << fmt::format("cpu      {} ({})\n", cpu_name(), fmt::join(cpu_features().names(), ", "));
}

void print_model(const Options& options, const Engine& engine, std::ostream& out) {
  print_machine(out);
  const auto kernels = kernels_of(engine);
  out << fmt::format(
      "device   {}\nkernels  {}\nfloats   products {}, attention {}\nint8     activations {}\n",
      describe_device(engine.options()),
      kernels.empty() ? "of the engine" : fmt::format("{}", fmt::join(kernels, ", ")),
      engine.options().precision, engine.options().attention, engine.options().activation_scales);
  out << fmt::format("runs     {} each after {} to warm up\n", options.repeat, kWarmUps);
}

std::string as_if_name(const Options& options) {
  return options.share_rows > 1
             ? fmt::format("{}, {} rows share a pattern", options.as_if, options.share_rows)
             : options.as_if;
}

std::string about_layers(const Measured& measured) {
  const BenchCase& shape = measured.results.front().shape;
  return fmt::format(
      "Products of one layer alone at {} x {} tokens; share of the dense model's time there",
      shape.batch, shape.tokens);
}

// What the page of --plot shows without its script.
std::string tables_html(const Options& options, const Measured& measured) {
  std::ostringstream out;
  const auto card = [&](const char* title, const std::string& note, const Table& table) {
    out << "<h2>" << title << "</h2>\n<p class=\"note\">" << html_text(note)
        << "</p>\n<div class=\"card scroll\">";
    table.print_html(out);
    out << "</div>\n";
  };
  card("Whole model",
       fmt::format("{} as if {}, against the model as it is. Quality: {}.", options.model.string(),
                   as_if_name(options), kNoQuality),
       results_table(measured.results, /*compared=*/true));
  card("Layers", about_layers(measured) + ".", layers_table(measured.layers));
  return out.str();
}

void print_tables(const Options& options, const Measured& measured, std::ostream& out) {
  print_model(options, *measured.model, out);
  if (!options.as_if.empty()) {
    out << fmt::format("as if    {}, against the model as it is\nquality  {}\n",
                       as_if_name(options), kNoQuality);
  }
  out << '\n';
  print_results(measured.results, measured.other != nullptr, out);
  if (options.as_if.empty()) return;
  out << '\n' << about_layers(measured) << '\n';
  layers_table(measured.layers).print(out);
}

std::vector<int64_t> tokens_or(const Options& options, const std::vector<int64_t>& otherwise) {
  return options.tokens.empty() ? otherwise : options.tokens;
}

std::vector<BenchCase> cases_of(const Options& options) {
  std::vector<BenchCase> cases;
  for (int threads : options.threads) {
    for (int64_t batch : options.batches) {
      for (int64_t tokens : tokens_or(options, {32, 128}))
        cases.push_back({batch, tokens, threads});
    }
  }
  return cases;
}

// Before anything is measured; the defaults may be too long as well.
void check_positions(const std::filesystem::path& model, const Engine& engine,
                     const std::vector<BenchCase>& cases) {
  const int64_t positions = engine.network().max_positions;
  for (const BenchCase& shape : cases) {
    if (shape.tokens <= positions) continue;
    throw Error(model.string(),
                fmt::format("has {} positions: it cannot read sequences of {} tokens", positions,
                            shape.tokens),
                fmt::format("Give --tokens {} or less", positions));
  }
}

Measured load(const Options& options, Console& console) {
  Measured measured;
  if (options.as_if.empty()) {
    measured.model = load_engine(options.model, options.engine, console);
    if (!options.against.empty())
      measured.other = load_engine(
          options.against, {.device = options.engine.device, .backend = "twofour"}, console);
    return measured;
  }
  const ModelDirectory dense = ModelDirectory::open(options.model);
  const AsIf as_if{options.as_if == "sparse-int8", options.share_rows};
  EngineOptions on_cpu = options.engine;
  // Whatever the variables say: layers are measured by CPU kernels.
  on_cpu.device = "cpu";
  on_cpu.backend = "twofour";
  measured.model = load_as_if(dense, as_if, on_cpu, console);
  log_engine(*measured.model, console);
  measured.other = Engine::load(dense, {.device = "cpu", .backend = "twofour"});
  return measured;
}

int finish(const Options& options, const Json& json, Console& console,
           const std::function<void()>& print) {
  console.end_progress();
  if (!options.out.empty()) write_file_atomically(options.out, json_text(json, 2) + "\n");
  if (options.json)
    console.out() << json_text(json, 2) << '\n';
  else
    print();
  return kOk;
}

int run_gemm(const Options& options, Console& console) {
  const Stopwatch watch;
  const GemmOptions gemm{encoder_shapes(), tokens_or(options, {1, 16, 64, 128}), options.repeat};
  const GemmResult result = measure_gemm(gemm, [&](int64_t done, int64_t total) {
    console.progress("bench", done, total, "cases", watch.seconds());
  });
  Json json = machine_json();
  json["repeat"] = options.repeat;
  json.update(to_json(result));
  return finish(options, json, console, [&] {
    print_machine(console.out());
    console.out() << fmt::format("runs     {} of each kernel, in turns\n", options.repeat);
    print_gemm(result, console.out());
  });
}

int run_sessions(const Options& options, Console& console) {
  const std::set<int> ascending(options.sessions.begin(), options.sessions.end());
  const std::vector<int> counts(ascending.begin(), ascending.end());
  const auto engine = load_engine(options.model, options.engine, console);
  const auto cases = cases_of(options);
  check_positions(options.model, *engine, cases);
  const Stopwatch watch;
  std::vector<SessionsResult> results;
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto found = measure_sessions(cases[i], counts, options.repeat, engine);
    results.insert(results.end(), found.begin(), found.end());
    console.progress("bench", static_cast<int64_t>(i + 1), static_cast<int64_t>(cases.size()),
                     "cases", watch.seconds());
  }
  Json json = model_json(options, *engine);
  json["results"] = to_json(results);
  return finish(options, json, console, [&] {
    print_model(options, *engine, console.out());
    console.out() << '\n';
    print_sessions(results, console.out());
  });
}

int run_models(const Options& options, Console& console) {
  Measured measured = load(options, console);
  const auto cases = cases_of(options);
  check_positions(options.model, *measured.model, cases);
  if (!options.against.empty()) check_positions(options.against, *measured.other, cases);
  const Stopwatch watch;
  for (const BenchCase& shape : cases) {
    measured.results.push_back(
        measure_models(shape, options.repeat, measured.model, measured.other));
    console.progress("bench", static_cast<int64_t>(measured.results.size()),
                     static_cast<int64_t>(cases.size()), "cases", watch.seconds());
  }
  if (!options.as_if.empty()) {
    measured.layers = measure_layers(*measured.model, options.share_rows, options.repeat,
                                     measured.results.front());
  }
  const Json json = to_json(options, measured);
  if (!options.plot.empty()) {
    Json data = json;
    data["version"] = TWOFOUR_VERSION;
    write_file_atomically(options.plot, [&](std::ostream& out) {
      write_page("twofour bench --as-if", data, bench_js(), out, tables_html(options, measured));
    });
  }
  return finish(options, json, console, [&] { print_tables(options, measured, console.out()); });
}

// Threads that take turns on a core say nothing of a larger machine.
void warn_of_threads(const Options& options, Console& console) {
  const int most = std::ranges::max(options.threads), cores = available_cores();
  if (most <= cores) return;
  console.log(LogLevel::kWarning,
              fmt::format("--threads {} is more than the {} here: they take turns, and times are "
                          "not those of as many cores",
                          most, counted(cores, "core")));
}

int run_bench(const Options& options, Console& console) {
  check_output_files({options.out, options.plot},
                     {options.model, options.against, options.engine.engine});
  if (!options.plot.empty()) check_output_page(options.plot, {});
  if (options.gemm) return run_gemm(options, console);
  warn_of_threads(options, console);
  return options.sessions.empty() ? run_models(options, console) : run_sessions(options, console);
}

// What CLI11 cannot say of positionals and values.
void check_options(const Options& options) {
  if (options.model.empty() != options.gemm) {
    throw CLI::ValidationError(options.gemm ? "bench --gemm takes no MODEL"
                                            : "bench takes MODEL, or --gemm");
  }
  if (options.as_if == "int8" && options.share_rows > 1)
    throw CLI::ValidationError("--share-rows goes with --as-if sparse-int8");
}

}  // namespace

Command add_bench(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      root.add_subcommand("bench", "Latency and sequences a second of a model on this machine");
  app->footer(kExamples);
  app->add_option("model", options->model, "Model directory")->type_name("MODEL");
  auto* against =
      app->add_option("--against", options->against, "Another model, run in turns with this one")
          ->type_name("MODEL");
  add_engine_options(*app, options->engine);
  auto* as_if = app->add_option("--as-if", options->as_if,
                                "What this dense float model would gain: int8 or sparse-int8")
                    ->check(CLI::IsMember({"int8", "sparse-int8"}))
                    ->excludes(against)
                    ->excludes(app->get_option("--device"))
                    ->excludes(app->get_option("--plans"))
                    ->excludes(app->get_option("--backend"))
                    ->excludes(app->get_option("--engine"));
  app->add_option("--share-rows", options->share_rows,
                  "Output rows that keep one pattern, with --as-if sparse-int8")
      ->capture_default_str()
      ->check(CLI::IsMember({1, 2, 4, 8, 16, 32}))
      ->needs(as_if);
  app->add_option("--plot", options->plot, "Page to write with charts of --as-if")
      ->type_name("FILE")
      ->check(path_name())
      ->needs(as_if);
  auto* gemm = app->add_flag("--gemm", options->gemm,
                             "Every kernel on products of encoder layers, without a model");
  auto* batch = app->add_option("--batch", options->batches, "Sequences in a batch, a list")
                    ->capture_default_str()
                    ->delimiter(',')
                    ->check(CLI::Range(1, 65536));
  app->add_option("--tokens", options->tokens,
                  "Tokens of a sequence, a list [32,128; with --gemm in all: 1,16,64,128]")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536));
  auto* threads = app->add_option("--threads", options->threads, "CPU threads, a list")
                      ->capture_default_str()
                      ->delimiter(',')
                      ->check(CLI::Range(1, 1024));
  auto* sessions =
      app->add_option("--sessions", options->sessions, "Sessions of one engine at once, a list")
          ->delimiter(',')
          ->check(CLI::Range(1, 1024))
          ->excludes(against)
          ->excludes(as_if);
  for (auto* option : {against, as_if, sessions, batch, threads, app->get_option("--precision"),
                       app->get_option("--attention"), app->get_option("--activation-scales"),
                       app->get_option("--device"), app->get_option("--plans"),
                       app->get_option("--backend"), app->get_option("--engine")})
    gemm->excludes(option);
  app->add_option("--repeat", options->repeat, "Measured runs of each case")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app->add_option("--out", options->out,
                  "Write the result as JSON, e.g. RUN/bench.json for the report")
      ->type_name("FILE")
      ->check(path_name());
  app->add_flag("--json", options->json, "For machines");
  app->callback([options] { check_options(*options); });
  return {app, [options, &console] { return run_bench(*options, console); }};
}

}  // namespace twofour::cli
