#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/backend/cuda/device.h"
#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/format.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/validators.h"
#include "twofour/io/json.h"
#include "twofour/train/api.h"

namespace twofour::cli {
namespace {

constexpr const char* kExamples =
    R"(DATA is TSV (header: query, document, label), JSONL, or a BEIR qrels file; *.zst too. Where a recipe wants no
labels (sparse-pretraining), --train may hold texts: a BEIR corpus, TSV with a column text, or one a line. --max-steps
leaves each stage at least one step, so that a recipe of five stages takes five steps or more. A stage's steps given
with --set take the place of its epochs, and epochs that of steps. Ctrl-C, SIGTERM or a lost terminal (without nohup)
saves the run, a second Ctrl-C or SIGTERM ends it at once. Several processes train one model if each is started with the same command
and RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set, as torchrun does (docs/recipes.md). Training on a GPU has not
been tried on one yet; `twofour doctor` says whether it finds one.

--out then holds
  checkpoint/    until the run has finished: where --resume goes on after it was stopped or killed
  log.jsonl      losses of each step, and metrics of each evaluation
  model/         the result, when the run has finished: for predict, eval, bench, export, and --model of a further run
  summary.json   the figures of a finished run

Examples:
  twofour train recipes/sparse-qat.yaml --model bert --train train.tsv --eval dev.tsv --out runs/sparse
  twofour train recipes/progressive.yaml --model runs/dense/model --teacher runs/dense/model \
      --train train.tsv --eval dev.tsv --out runs/progressive --max-steps 500 --set seed=3
  twofour train recipes/sparse-qat.yaml --model bert --train train.tsv --eval dev.tsv --out runs/sparse --resume)";

struct Options {
  TrainRequest request;
  std::vector<std::string> settings;
  bool json = false;
};

// For a shell: quoted unless every character is harmless.
std::string quoted(const std::string& word) {
  constexpr const char* kHarmless =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:@%+,";
  if (!word.empty() && word.find_first_not_of(kHarmless) == std::string::npos) return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

// The command that continues this run.
std::string resume_command(const Options& options) {
  const TrainRequest& r = options.request;
  std::string line = fmt::format("twofour train {} --model {} --train {}", quoted(r.recipe),
                                 quoted(r.model), quoted(r.train_data));
  if (!r.dev_data.empty()) line += " --eval " + quoted(r.dev_data);
  if (!r.teacher.empty()) line += " --teacher " + quoted(r.teacher);
  line += " --out " + quoted(r.out);
  if (r.max_steps > 0) line += fmt::format(" --max-steps {}", r.max_steps);
  if (r.threads > 0) line += fmt::format(" --threads {}", r.threads);
  if (r.device != TrainRequest{}.device) line += " --device " + quoted(r.device);
  if (r.checkpoint_every != TrainRequest{}.checkpoint_every) {
    line += fmt::format(" --checkpoint-every {}", r.checkpoint_every);
  }
  if (!r.deterministic) line += " --no-deterministic";
  for (const std::string& setting : options.settings) line += " --set " + quoted(setting);
  return line + " --resume";
}

// What stands before that command: which variables a process was started with is not the same for
// each, and a launcher may have set them.
std::string how_to_go_on(int processes) {
  if (processes == 1) return "To go on:";
  return fmt::format(
      "To go on, start all {} processes again as before (torchrun, or RANK, WORLD_SIZE={}, "
      "MASTER_ADDR and MASTER_PORT for each), now with:",
      processes, processes);
}

void print_summary(const TrainSummary& summary, std::ostream& out) {
  out << fmt::format("{:<12}{} in {}, {:.1f} pairs/s\n", "steps", summary.steps,
                     format_duration(summary.seconds), summary.pairs_per_second);
  out << fmt::format("{:<12}{} zeros in prunable layers\n", "sparsity",
                     format_percent(summary.sparsity));
  for (const auto& [name, value] : summary.dev)
    out << fmt::format("{:<12}{:.4f} on dev\n", name, value);
  out << fmt::format("{:<12}{}\n", "model", summary.model.string());
}

void print_json(const TrainSummary& summary, std::ostream& out) {
  const nlohmann::ordered_json json = {
      {"finished", summary.finished},   {"steps", summary.steps},
      {"seconds", summary.seconds},     {"pairs_per_second", summary.pairs_per_second},
      {"sparsity", summary.sparsity},   {"dev", summary.dev},
      {"model", summary.model.string()}};
  out << json_text(json, 2) << '\n';
}

int run_train(Options& options, Console& console) {
  for (const std::string& setting : options.settings) {
    const size_t equals = setting.find('=');
    options.request.overrides[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  TrainApi& api = train_api();
  const InterruptGuard guard(
      "ended at once; --resume goes on from the last checkpoint, or from the start without one");
  Callbacks callbacks = console.callbacks();
  callbacks.stop_requested = InterruptGuard::requested;
  const TrainSummary summary = api.train(options.request, callbacks);
  console.end_progress();
  if (!summary.begun) {
    console.info("stopped while waiting for the other processes: nothing has begun");
    return kInterrupted;
  }
  if (summary.rank != 0) return summary.finished ? kOk : kInterrupted;  // rank 0 tells
  if (options.json) print_json(summary, console.out());
  if (!summary.finished) {
    console.info(fmt::format("stopped after step {}; everything is saved. {}", summary.steps,
                             how_to_go_on(summary.processes)));
    console.info(resume_command(options));
    return kInterrupted;
  }
  if (!options.json) print_summary(summary, console.out());
  return kOk;
}

std::string check_setting(const std::string& text) {
  const size_t equals = text.find('=');
  return equals == std::string::npos || equals == 0 ? "expected KEY=VALUE, found " + text : "";
}

void check_device(const std::string& name) {
  if (name != "cpu") cuda::device_ordinal(name, "device", kTrainingDevices);
}

}  // namespace

Command add_train(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  TrainRequest& request = options->request;
  CLI::App* app = root.add_subcommand(
      "train", "Run a recipe: dense checkpoint and labelled pairs in, model directory out");
  app->footer(kExamples);
  app->add_option("recipe", request.recipe, "Recipe file, e.g. recipes/sparse-qat.yaml")
      ->required()
      ->type_name("RECIPE");
  app->add_option(
         "--model", request.model,
         "Float model directory, dense or 2:4, as Hugging Face or sentence-transformers have it")
      ->required()
      ->type_name("DIR");
  app->add_option("--train", request.train_data,
                  "Training pairs, or texts where a recipe wants no labels")
      ->required()
      ->type_name("DATA");
  app->add_option("--eval", request.dev_data,
                  "Development pairs: selection and early stop use them")
      ->type_name("DATA");
  app->add_option("--out", request.out, "Run folder, new or empty; with --resume that of the run")
      ->required()
      ->type_name("DIR")
      ->check(path_name());
  app->add_option("--teacher", request.teacher, "Teacher of distillation losses [the model itself]")
      ->type_name("DIR");
  app->add_flag("--resume", request.resume, "Continue the run in --out");
  app->add_option("--max-steps", request.max_steps,
                  "Shorten every stage in proportion [as the recipe says]")
      ->check(positive_number());
  app->add_option("--threads", request.threads, "CPU threads [all cores]")
      ->check(CLI::Range(1, 1024));
  app->add_option("--device", request.device,
                  "cpu, or an NVIDIA GPU: cuda:1; cuda is the first, or that of LOCAL_RANK")
      ->capture_default_str()
      ->check(accepted_by(check_device));
  app->add_option("--checkpoint-every", request.checkpoint_every, "Steps between checkpoints")
      ->capture_default_str()
      ->check(positive_number());
  app->add_flag("--deterministic,!--no-deterministic", request.deterministic,
                "The same bits each time [on]");
  app->add_option("--set", options->settings,
                  "KEY=VALUE replaces a key of the recipe, e.g. stages.0.steps=100")
      ->type_name("SETTING")
      ->take_all()
      ->check(CLI::Validator(check_setting, "", "setting"));
  app->add_flag("--json", options->json, "Summary for machines");
  return {app, [options, &console] { return run_train(*options, console); }};
}

}  // namespace twofour::cli
