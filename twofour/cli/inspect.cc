#include "twofour/graph/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "twofour/backend/backends.h"
#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/format.h"
#include "twofour/cli/model_json.h"
#include "twofour/cli/random_product.h"
#include "twofour/cli/table.h"
#include "twofour/cli/weights_file.h"
#include "twofour/io/json.h"
#include "twofour/runtime/engine.h"

namespace twofour::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  twofour inspect runs/sparse/model
  twofour inspect runs/sparse/model --json | jq '.layers[] | select(.sparsity < 0.5).name'
  twofour inspect resnet50-int8.onnx
  twofour inspect resnet50/model.safetensors --json

MB are 10^6 bytes. "after" is the layer as 2:4 int8: half the values, 2 bits of metadata for each, scales. A file keeps
the zeros in their places: as 2:4 int8 it has a byte for each weight, and the embeddings as f32. Memory is what
the linear layers take as this machine's kernels pack them; rows that share patterns take less.

Of a file the weights of each convolution and matrix are counted, of ONNX as they are after quantization. Groups of four
lie along input channels. "eligible" goes by shape: which engines' kernels could take the weight if it were 2:4 int8.)";

struct Options {
  std::filesystem::path model;
  bool json = false;
  bool channels_last = false;  // of convolutions in safetensors files
  ConvLayout layout() const {
    return channels_last ? ConvLayout::kChannelsLast : ConvLayout::kChannelsFirst;
  }
};

std::string pattern_of(const SparsityReport& sparsity) {
  if (sparsity.groups_2_4 >= 1) return "2:4";
  return sparsity.groups_2_4 > 0 ? fmt::format("{:.1f} % of groups", sparsity.groups_2_4 * 100)
                                 : "dense";
}

// Query, key and value that run as one are called after the first.
bool is_prunable(const Network& network, const LayerInfo& layer) {
  const std::string name = layer.name.substr(0, layer.name.find('+'));
  return std::ranges::any_of(network.ops,
                             [&](const Op& op) { return op.prunable && op.name == name; });
}

// Follows from the shape and from the rows that share a pattern, so random weights will do.
uint64_t packed_as_sparse_int8(const LayerInfo& layer) {
  const MatmulDesc desc{layer.n, layer.k, MatmulType::kS8, layer.k % 4 == 0};
  const Kernel& kernel = select_kernel(desc, forced_kernel({}));
  return RandomProduct(kernel, layer.n, layer.k, layer.share_rows).linear().weights().bytes();
}

std::optional<uint64_t> memory_after(const Engine& engine) {
  if (engine.options().device != "cpu") return std::nullopt;  // packed in another form there
  std::map<std::tuple<int64_t, int64_t, int>, uint64_t> known;
  uint64_t bytes = 0;
  for (const LayerInfo& layer : engine.layers()) {
    const bool is_sparse_int8 = layer.sparse && layer.type == matmul_type_name(MatmulType::kS8);
    if (is_sparse_int8 || !is_prunable(engine.network(), layer)) {
      bytes += layer.packed_bytes;
      continue;
    }
    uint64_t& of_one = known[{layer.n, layer.k, layer.share_rows}];
    if (of_one == 0) of_one = packed_as_sparse_int8(layer);
    bytes += of_one;
  }
  return bytes;
}

// Nothing when this model cannot run as it stands, which is told.
std::optional<MemoryBytes> memory_bytes(const ModelDirectory& model, const ModelReport& report,
                                        Console& console) {
  if (!report.absent.empty()) return std::nullopt;
  try {
    const auto engine = Engine::load(model);
    for (const std::string& warning : engine->warnings()) console.log(LogLevel::kWarning, warning);
    return MemoryBytes{engine->packed_bytes(), memory_after(*engine)};
  } catch (const Error& error) {
    console.log(LogLevel::kWarning, fmt::format("does not run: {}", error.what()));
    return std::nullopt;
  }
}

void print_summary(const ModelConfig& config, const Network& network, const ModelReport& report,
                   const std::optional<MemoryBytes>& memory, std::ostream& out) {
  const auto line = [&](std::string_view name, const std::string& value) {
    out << fmt::format("{:<14}{}\n", name, value);
  };
  line("architecture", fmt::format("{}, {}, hidden {}, {}, intermediate {}, vocabulary {}",
                                   config.model_type, counted(config.num_hidden_layers, "layer"),
                                   config.hidden_size, counted(config.num_attention_heads, "head"),
                                   config.intermediate_size, config.vocab_size));
  line("head", describe_head(config));
  line("weights", config.int8 ? "int8" : "float");
  line("activations", describe_activations(config));
  line("file", fmt::format("{} now, {} as 2:4 int8", format_bytes(report.weight_file_bytes),
                           format_bytes(int8_file_bytes(network))));
  if (memory) {
    line("memory",
         fmt::format(
             "{} now{}, packed for this machine", format_bytes(memory->now),
             memory->after ? fmt::format(", {} as 2:4 int8", format_bytes(*memory->after)) : ""));
  }
  line("matrices", fmt::format("{} now, {} as 2:4 int8", format_bytes(report.matrix_bytes_now),
                               format_bytes(report.matrix_bytes_after)));
  line("other", format_bytes(report.other_bytes) + " (embeddings, biases, norms)");
  if (report.unused_tensors > 0) {
    line("unused",
         fmt::format("{}, {}: the network does not read them",
                     counted(report.unused_tensors, "tensor"), format_bytes(report.unused_bytes)));
  }
  if (!report.absent.empty()) {
    line("absent", fmt::format("{}: training initializes them", fmt::join(report.absent, ", ")));
  }
}

void print_layers(const ModelReport& report, std::ostream& out) {
  Table table({"<layer", "n", "k", "<type", "zeros %", "<pattern", "share rows", "now MB",
               "after MB", "<eligible as 2:4 int8"});
  for (const LayerReport& layer : report.layers) {
    table.add_row({layer.name, std::to_string(layer.n), std::to_string(layer.k),
                   std::string(dtype_name(layer.dtype)),
                   fmt::format("{:.1f}", layer.sparsity.zeros * 100), pattern_of(layer.sparsity),
                   std::to_string(layer.sparsity.share_rows), format_megabytes(layer.bytes_now),
                   format_megabytes(layer.bytes_after),
                   describe_engines(layer.not_prunable, layer.engines)});
  }
  table.print(out);
}

// Of a folder that has them, beside its config.json.
std::filesystem::path weights_of(const std::filesystem::path& folder) {
  const auto file = folder / "model.safetensors";
  return std::filesystem::exists(file) ? file : folder / "model.safetensors.index.json";
}

int run_inspect(const Options& options, Console& console) {
  if (is_weights_file(options.model)) {
    inspect_weights_file(options.model, options.layout(), options.json, console);
    return kOk;
  }
  const ModelDirectory model = ModelDirectory::open(options.model);
  if (!has_network(model.config())) {
    console.info(fmt::format("{}: twofour has no network of model_type '{}', here are its weights",
                             options.model.string(), model.config().model_type));
    inspect_weights_file(weights_of(options.model), options.layout(), options.json, console);
    return kOk;
  }
  if (options.channels_last) {
    throw Error(options.model.string(), "has no convolutions, which --channels-last is about",
                "Leave it out");
  }
  const Network network = build_network(model.config());
  const ModelReport report = inspect_model(network, model);
  const auto memory = memory_bytes(model, report, console);
  if (options.json) {
    console.out() << json_text(inspect_json(model, network, report, memory), 2) << '\n';
    return kOk;
  }
  print_summary(model.config(), network, report, memory, console.out());
  console.out() << '\n';
  print_layers(report, console.out());
  return kOk;
}

}  // namespace

Command add_inspect(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app = root.add_subcommand(
      "inspect", "Show a model's layers, sparsity, size and what engines can do with it");
  app->footer(kExamples);
  app->add_option("model", options->model,
                  "Model directory, or the weights of any network: ONNX or safetensors")
      ->required()
      ->type_name("MODEL|FILE.onnx|FILE.safetensors");
  app->add_flag("--json", options->json, "For machines");
  app->add_flag("--channels-last", options->channels_last,
                "Convolutions of safetensors files are [out, height, width, in], not [out, in, "
                "height, width]");
  app->callback([options] {
    if (options->channels_last && is_weights_file(options->model) &&
        !is_safetensors(options->model))
      throw CLI::ValidationError("--channels-last goes with safetensors files");
  });
  return {app, [options, &console] { return run_inspect(*options, console); }};
}

}  // namespace twofour::cli
