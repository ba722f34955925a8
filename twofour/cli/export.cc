#include "twofour/export/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/compressed_tensors.h"
#include "twofour/cli/export_report.h"
#include "twofour/cli/format.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/tokenizer_warning.h"
#include "twofour/cli/validators.h"
#include "twofour/cli/weights_file.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

constexpr const char* kCompressedTensors = "compressed-tensors";

constexpr const char* kExamples =
    R"(Writes the model as ONNX for other engines. An int8 model becomes Q/DQ with the scales of its file, placed where
the target fuses them; a 2:4 model stays 2:4. Inputs are input_ids, attention_mask and token_type_ids, int64
[batch, sequence]; the output is logits, embeddings or last_hidden_state. Weights beyond 2 GB go to FILE.onnx.data.
A network that is ONNX already, a convolutional one too, is written as it is, with its 2:4 groups counted.

Examples:
  twofour export model --out model.onnx
  twofour export model-int8 --out model-int8.onnx --target openvino
  twofour export model-int8 --out model-int8.onnx --target tensorrt --opset 20
  twofour export model-int8 --out model-int8.onnx --target tensorrt --gemm-as-conv
  twofour export model-int8 --out model-int8.onnx --target tensorrt --plugin
  twofour export model-int8 --out folder --format compressed-tensors
  twofour export resnet50.onnx --out counted.onnx --report counted.json)";

struct Options {
  ExportRequest request;
  std::string format = "onnx";
  std::filesystem::path report;  // empty: none
  bool force = false;
};

void print_plugin(const ExportSummary& summary, Console& console) {
  console.info(fmt::format("{} linear layers are nodes of the plug-in {}", summary.plugin_layers,
                           spmm_node::kType));
  for (const auto& [reason, layers] : reasons_against_plugin(summary))
    console.info(fmt::format("{} are not: {}", layers, reason));
}

void print_data(const ExportSummary& summary, Console& console) {
  if (!summary.data.empty()) console.info(fmt::format("weights are in {}", summary.data.string()));
}

void print_summary(const ExportRequest& request, const ExportSummary& summary, Console& console) {
  console.info(fmt::format("wrote {} ({}): {}, {}, {} of them int8, {} 2:4", request.out.string(),
                           format_bytes(summary.bytes), counted(summary.nodes, "node"),
                           counted(summary.linear_layers, "linear layer"), summary.int8_layers,
                           summary.sparse_layers));
  if (summary.sparse_layers > 0) {
    console.info(fmt::format("2:4 kernels of TensorRT can take {}, those of cuSPARSELt {}",
                             counted(count_eligible(summary, "tensorrt"), "layer"),
                             count_eligible(summary, "cusparselt")));
  }
  if (summary.convolutions > 0) {
    console.info(fmt::format("{} linear layers are 1x1 convolutions", summary.convolutions));
  }
  if (summary.int8_residuals > 0) {
    console.info(
        fmt::format("{} add an int8 copy", counted(summary.int8_residuals, "residual connection")));
  }
  if (request.plugin) print_plugin(summary, console);
  print_data(summary, console);
  if (summary.clipped_points > 0) {
    console.info(fmt::format("{} of {} quantized values are clipped at -127 first",
                             summary.clipped_points, summary.quant_points));
  }
}

int64_t count_sparse_for(const std::vector<WeightReport>& weights, std::string_view engine) {
  return std::ranges::count_if(weights, [&](const WeightReport& weight) {
    return weight.is_sparse() && std::ranges::any_of(weight.engines, [&](const Eligibility& e) {
             return e.engine == engine && e.reason.empty();
           });
  });
}

void print_network(const ExportRequest& request, const ExportSummary& summary, Console& console) {
  const int64_t sparse = sparse_weights(summary.weights);
  console.info(fmt::format("wrote {} ({}): {}, {} of them 2:4", request.out.string(),
                           format_bytes(summary.bytes),
                           counted(std::ssize(summary.weights), "weight"), sparse));
  if (sparse > 0) {
    console.info(fmt::format("in int8, 2:4 kernels of TensorRT can take {}, those of cuSPARSELt {}",
                             counted(count_sparse_for(summary.weights, "tensorrt"), "weight"),
                             count_sparse_for(summary.weights, "cusparselt")));
  }
  print_data(summary, console);
}

// Before anything is written.
void check_files(const Options& options) {
  std::vector<std::filesystem::path> inputs;
  if (is_onnx(options.request.model)) inputs.push_back(options.request.model);
  check_output_file(options.request.out, inputs);
  check_output_file(options.report, inputs);
  if (options.report.lexically_normal() == options.request.out.lexically_normal()) {
    throw Error(options.report.string(), "is the name of the exported file too",
                "Name another for the report");
  }
}

int write_compressed_tensors(const Options& options, Console& console) {
  const ExportRequest& request = options.request;
  warn_of_tokenizer(ModelDirectory::open(request.model), console);
  const InterruptCleanup cleanup({request.out});
  const ModelReport report = export_compressed_tensors(request.model, request.out, options.force);
  const auto count = [&](auto&& which) {
    return std::count_if(report.layers.begin(), report.layers.end(), which);
  };
  console.info(fmt::format(
      "wrote {} ({}): {}, {} of them int8, {} 2:4", request.out.string(),
      format_bytes(report.weight_file_bytes), counted(std::ssize(report.layers), "linear layer"),
      count([](const LayerReport& layer) { return layer.dtype == DType::kI8; }),
      count([](const LayerReport& layer) {
        return layer.not_prunable.empty() && layer.sparsity.groups_2_4 == 1;
      })));
  return kOk;
}

int run_export(const Options& options, Console& console) {
  if (options.format == kCompressedTensors) return write_compressed_tensors(options, console);
  check_files(options);
  const ExportRequest& request = options.request;
  const InterruptCleanup cleanup({request.out.string() + ".data", request.out, options.report});
  const ExportSummary summary = export_api().export_onnx(request);
  const bool network = is_onnx(request.model);
  (network ? print_network : print_summary)(request, summary, console);
  if (options.report.empty()) return kOk;
  const auto report =
      network ? weights_json(request.out, summary.weights) : export_report(request, summary);
  write_file_atomically(options.report, json_text(report, 2) + "\n");
  console.info(fmt::format("wrote {}", options.report.string()));
  return kOk;
}

void add_form_options(CLI::App& app, ExportRequest& request) {
  auto* convolutions =
      app.add_flag("--gemm-as-conv", request.gemm_as_conv,
                   "The encoder's linear layers as 1x1 convolutions, weights [n, k, 1, 1]");
  auto* plugin =
      app.add_flag("--plugin", request.plugin,
                   "2:4 layers as nodes of the TensorRT plug-in SpmmPluginDynamic (cuSPARSELt)");
  plugin->excludes(convolutions);
  app.add_option("--plugin-max-rows", request.plugin_max_m,
                 "Rows (batch x length) up to which the plug-in has plans; more run in pieces")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, kLargestPluginM))
      ->needs(plugin);
}

// Of a network that is ONNX already nothing is converted.
void check_network(const CLI::App& app, const Options& options) {
  if (!is_onnx(options.request.model)) return;
  for (const char* name : {"--target", "--opset", "--clip", "--quantize-residual", "--precision",
                           "--gemm-as-conv", "--plugin", "--plugin-max-rows"}) {
    if (app.count(name) == 0) continue;
    throw CLI::ValidationError(
        fmt::format("{} goes with a model directory, not a network in ONNX", name));
  }
}

// All but MODEL, --out and --format are for ONNX.
void check_format(const CLI::App& app, const Options& options) {
  if (options.format != kCompressedTensors) {
    if (options.force)
      throw CLI::ValidationError(
          "--force goes with --format compressed-tensors: ONNX files are replaced");
    if (options.request.plugin && options.request.target != "tensorrt")
      throw CLI::ValidationError(
          fmt::format("--plugin goes with --target tensorrt, not {}", options.request.target));
    return check_network(app, options);
  }
  for (const char* name :
       {"--target", "--opset", "--clip", "--quantize-residual", "--precision", "--gemm-as-conv",
        "--plugin", "--plugin-max-rows", "--external-data", "--report"}) {
    if (app.count(name) == 0) continue;
    throw CLI::ValidationError(
        fmt::format("{} goes with --format onnx, not {}", name, options.format));
  }
}

}  // namespace

Command add_export(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  ExportRequest* request = &options->request;
  CLI::App* app = root.add_subcommand(
      "export", "Write a model as ONNX or compressed-tensors for other engines");
  app->footer(kExamples);
  app->add_option("model", request->model,
                  "Model directory: float or int8, dense or 2:4; or any network, FILE.onnx")
      ->required()
      ->type_name("MODEL");
  app->add_option("--out", request->out, "ONNX file to write, or a model directory")
      ->required()
      ->type_name("FILE.onnx|DIR")
      ->check(path_name());
  app->add_option("--format", options->format,
                  "onnx, or compressed-tensors: int8 weights, zeros in place")
      ->capture_default_str()
      ->check(CLI::IsMember({"onnx", kCompressedTensors}));
  app->add_option("--target", request->target, "Engine that shall run it")
      ->capture_default_str()
      ->check(CLI::IsMember({"onnxruntime", "openvino", "tensorrt"}));
  app->add_option("--opset", request->opset, "ONNX operator set")
      ->capture_default_str()
      ->check(CLI::Range(kMinOpset, kMaxOpset));
  app->add_flag("--clip,!--no-clip", request->clip,
                "Keep quantized values at -127 and above, as twofour does [on]");
  app->add_flag("--quantize-residual", request->quantize_residual,
                "Residual connections of an int8 model add the int8 copy that products read");
  app->add_option("--precision", request->precision,
                  "Of a float model's embeddings and encoder: f32 or fp16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "fp16"}));
  add_form_options(*app, *request);
  app->add_flag("--external-data", request->external_data,
                "Weights in FILE.onnx.data, whatever the size");
  app->add_option("--report", options->report,
                  "JSON to write: each layer's groups of four, and which 2:4 kernels can take it")
      ->type_name("FILE.json")
      ->check(path_name());
  app->add_flag("--force", options->force,
                "With compressed-tensors: replace the model that --out holds");
  app->callback([app, options] { check_format(*app, *options); });
  return {app, [options, &console] { return run_export(*options, console); }};
}

}  // namespace twofour::cli
