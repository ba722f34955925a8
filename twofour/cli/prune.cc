#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/pruning.h"
#include "twofour/cli/table.h"
#include "twofour/cli/tokenizer_warning.h"
#include "twofour/cli/validators.h"
#include "twofour/graph/inspect.h"
#include "twofour/io/json.h"
#include "twofour/sparse/mask.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(Writes MODEL again with the weights of least saliency zero, without training and without LibTorch. Quality falls:
train a recipe to win it back, or prune only to measure size and speed. Embeddings, pooler and head stay dense.
Saliency is a weight's square (energy) or its absolute value (magnitude). Both choose the same weights, unless rows share
a pattern: their saliency is summed then.

Examples:
  twofour prune model --out model-24
  twofour prune model --out model-24 --share-rows 2 --pairing adjacent
  twofour prune model --out model-24 --layers 'encoder.layer.*.output.dense' --keep-dense 'encoder.layer.0.*'
  twofour prune model --out model-25 --sparsity 0.25
  twofour prune model --out model-24 --json | jq '.layers[] | select(.energy_lost > 0.1).name')";

struct Options {
  std::filesystem::path model, out;
  PruneOptions pruning;
  std::vector<std::string> layers, keep_dense;
  bool force = false, json = false;
};

bool matches_any(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    return fnmatch(glob.c_str(), name.c_str(), 0) == 0;
  });
}

bool is_pattern(const std::string& glob) { return glob.find_first_of("*?[") != std::string::npos; }

// A glob that matches nothing is a typing error, and so is a layer asked for by its full name that
// cannot be pruned.
void check_globs(const Options& options, const Network& network) {
  std::vector<std::string> all = options.layers;
  all.insert(all.end(), options.keep_dense.begin(), options.keep_dense.end());
  for (const std::string& glob : all) {
    const bool known = std::any_of(network.ops.begin(), network.ops.end(), [&](const Op& op) {
      return op.kind == OpKind::kLinear && matches_any({glob}, op.name);
    });
    if (!known) {
      throw Error(options.model.string(), fmt::format("no linear layer is called {}", glob),
                  "twofour inspect lists the layers");
    }
  }
  for (const Op& op : network.ops) {
    const bool named =
        std::any_of(options.layers.begin(), options.layers.end(),
                    [&](const std::string& glob) { return !is_pattern(glob) && glob == op.name; });
    const std::string reason = named ? why_not_prunable(network, op) : "";
    if (!reason.empty()) {
      throw Error(options.model.string(), fmt::format("{} cannot be pruned: {}", op.name, reason),
                  "Leave it out of --layers: it stays dense");
    }
  }
}

std::vector<const Op*> chosen_layers(const Options& options, const Network& network,
                                     Console& console) {
  std::vector<const Op*> chosen;
  for (const Op& op : network.ops) {
    if (op.kind != OpKind::kLinear || !op.prunable || matches_any(options.keep_dense, op.name))
      continue;
    if (!options.layers.empty() && !matches_any(options.layers, op.name)) continue;
    const std::string reason = why_not_prunable(network, op);
    if (reason.empty())
      chosen.push_back(&op);
    else
      console.log(LogLevel::kWarning, dense_layer_warning(op, reason));
  }
  if (chosen.empty())
    throw Error(options.model.string(), "no layer is left to prune",
                "Give --layers and --keep-dense globs that leave some");
  return chosen;
}

Json pruning_json(const PruneOptions& options) {
  return {{"method", "one-shot"},         {"pattern", "2:4"},
          {"sparsity", options.sparsity}, {"share_rows", options.share_rows},
          {"pairing", options.pairing},   {"saliency", options.saliency}};
}

std::string describe(const Options& options, const std::vector<PrunedLayer>& layers) {
  Json json = {{"version", TWOFOUR_VERSION}, {"pruning", pruning_json(options.pruning)}};
  for (const PrunedLayer& layer : layers) json["pruning"]["layers"].push_back(layer.name);
  return json.dump(2) + "\n";
}

void save(const Options& options, const ModelDirectory& model,
          const std::vector<PrunedLayer>& layers) {
  ModelToSave out{options.model, model.config(), {}, describe(options, layers)};
  for (const std::string& name : model.tensor_names()) {
    const auto pruned = std::find_if(layers.begin(), layers.end(), [&](const PrunedLayer& layer) {
      return layer.weight == name;
    });
    out.tensors.push_back(
        {name, pruned == layers.end() ? model.tensor(name) : pruned->values.view()});
  }
  save_model_directory(options.out, out);
}

void print_table(const std::vector<PrunedLayer>& layers, std::ostream& out) {
  Table table({"<layer", "n", "k", "zeros %", "energy lost %"});
  for (const PrunedLayer& layer : layers) {
    table.add_row({layer.name, std::to_string(layer.n), std::to_string(layer.k),
                   fmt::format("{:.1f}", layer.sparsity * 100),
                   fmt::format("{:.1f}", layer.energy_lost * 100)});
  }
  table.print(out);
}

void print_json(const Options& options, const std::vector<PrunedLayer>& layers, std::ostream& out) {
  Json rows = Json::array();
  int64_t weights = 0;
  double zeros = 0;
  for (const PrunedLayer& layer : layers) {
    weights += layer.n * layer.k;
    zeros += layer.sparsity * static_cast<double>(layer.n * layer.k);
    rows.push_back({{"name", layer.name},
                    {"n", layer.n},
                    {"k", layer.k},
                    {"sparsity", layer.sparsity},
                    {"energy_lost", layer.energy_lost}});
  }
  const Json json = {{"model", options.model.string()},
                     {"out", options.out.string()},
                     {"pruning", pruning_json(options.pruning)},
                     {"weights", weights},
                     {"sparsity", zeros / static_cast<double>(weights)},
                     {"layers", std::move(rows)}};
  out << json_text(json, 2) << '\n';
}

int run_prune(const Options& options, Console& console) {
  check_output_model(options.out, options.model, options.force);
  const InterruptCleanup cleanup({options.out});
  const ModelDirectory model = ModelDirectory::open(options.model);
  if (model.config().int8) {
    throw Error(options.model.string(), "is int8 already: pruning needs float weights",
                "Prune the float model, then run twofour calibrate");
  }
  warn_of_tokenizer(model, console);
  const Network network = build_network(model.config());
  check_parameters(network, model);
  check_globs(options, network);
  const auto ops = chosen_layers(options, network, console);
  std::vector<PrunedLayer> layers;
  for (const Op* op : ops) {
    layers.push_back(prune_layer(options.pruning, model, network, *op));
    console.progress("prune", static_cast<int64_t>(layers.size()), static_cast<int64_t>(ops.size()),
                     "layers", 0);
  }
  console.end_progress();
  save(options, model, layers);
  if (options.json)
    print_json(options, layers, console.out());
  else
    print_table(layers, console.out());
  console.info(fmt::format("wrote {}", options.out.string()));
  return kOk;
}

}  // namespace

Command add_prune(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      root.add_subcommand("prune", "Make a dense float model 2:4 sparse at once, without training");
  app->footer(kExamples);
  app->add_option("model", options->model, "Dense float model directory")
      ->required()
      ->type_name("MODEL");
  app->add_option("--out", options->out, "Model directory to write")
      ->required()
      ->type_name("DIR")
      ->check(path_name());
  app->add_flag("--force", options->force, "Replace the model that --out holds");
  app->add_option("--sparsity", options->pruning.sparsity,
                  "Share of zeros; between quarters some groups are pruned first")
      ->capture_default_str()
      ->check(number_between(0, 0.5));
  app->add_option("--share-rows", options->pruning.share_rows, "Output rows that keep one pattern")
      ->capture_default_str()
      ->check(CLI::IsMember({1, 2, 4, 8, 16, 32}));
  app->add_option("--pairing", options->pruning.pairing, "Which rows share")
      ->capture_default_str()
      ->transform(dashes_as_underscores())
      ->check(CLI::IsMember({"adjacent", "least_energy", "nearby"}));
  app->add_option("--saliency", options->pruning.saliency,
                  "What makes a weight worth keeping: its square or its absolute value")
      ->capture_default_str()
      ->check(CLI::IsMember(saliency_names()));
  app->add_option("--layers", options->layers, "Only layers that match one of these globs")
      ->type_name("GLOB")
      ->delimiter(',');
  app->add_option("--keep-dense", options->keep_dense, "Layers that stay dense, as globs")
      ->type_name("GLOB")
      ->delimiter(',');
  app->add_flag("--json", options->json, "For machines");
  return {app, [options, &console] { return run_prune(*options, console); }};
}

}  // namespace twofour::cli
