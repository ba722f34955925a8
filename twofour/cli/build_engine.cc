#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/format.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/table.h"
#include "twofour/cli/validators.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/tensorrt/api.h"

namespace twofour::cli {
namespace {

using tensorrt::EngineLayer;

constexpr const char* kExamples =
    R"(Builds a TensorRT engine from a file of twofour export --target tensorrt, for the GPU of this machine, and says for each
product whether TensorRT chose a sparse kernel. FILE.plan.json beside the engine names GPU, TensorRT, file and model; where they
are what they were, nothing is built. Needs a build with TENSORRT_ROOT, a GPU and TensorRT's libraries.

Examples:
  twofour build-engine model-int8.onnx --out model-int8.plan
  twofour build-engine model-int8.onnx --out model-int8.plan --batch 1,32,64 --length 16,64,128 --compare-dense
  twofour build-engine model-int8.onnx --out model-int8.plan --timing-cache timing.cache --report report.json)";

struct Options {
  BuildEngineRequest request;
  std::string batch = tensorrt::to_string(BuildEngineRequest{}.batch);
  std::string length = tensorrt::to_string(BuildEngineRequest{}.length);
  std::filesystem::path report;
};

// Before TensorRT is looked for.
void check_files(const Options& options) {
  const BuildEngineRequest& request = options.request;
  if (!std::filesystem::exists(request.onnx))
    throw Error(request.onnx.string(), "no such file", "twofour export writes one");
  if (request.out.lexically_normal() == request.onnx.lexically_normal())
    throw Error(request.out.string(), "is the ONNX file itself", "Name another file");
  for (const auto& path : {request.out, request.timing_cache, options.report})
    check_output_file(path, {request.onnx});
  tensorrt::check_onnx(request.onnx);
}

int64_t count_sparse(const BuildEngineResult& result) {
  return std::count_if(result.layers.begin(), result.layers.end(),
                       [](const EngineLayer& layer) { return layer.product() && layer.sparse; });
}

int64_t count_products(const BuildEngineResult& result) {
  return std::count_if(result.layers.begin(), result.layers.end(),
                       [](const EngineLayer& layer) { return layer.product(); });
}

std::string kernel_of(const EngineLayer& layer) {
  return layer.plugin ? "plug-in" : layer.sparse ? "sparse" : "dense";
}

void print_layers(const BuildEngineResult& result, std::ostream& out) {
  Table table({"<layer", "<type", "<kernel", "<tactic"});
  for (const EngineLayer& layer : result.layers) {
    if (layer.product()) table.add_row({layer.name, layer.type, kernel_of(layer), layer.tactic});
  }
  table.print(out);
}

nlohmann::ordered_json report_json(const Options& options, const BuildEngineResult& result) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const EngineLayer& layer : result.layers) {
    layers.push_back({{"name", layer.name},
                      {"type", layer.type},
                      {"tactic", layer.tactic},
                      {"onnx_layers", layer.onnx_layers},
                      {"product", layer.product()},
                      {"kernel", kernel_of(layer)}});
  }
  nlohmann::ordered_json json{{"onnx", options.request.onnx.string()},
                              {"engine", options.request.out.string()},
                              {"gpu", result.gpu},
                              {"tensorrt", result.tensorrt},
                              {"batch", options.batch},
                              {"length", options.length},
                              {"products", count_products(result)},
                              {"sparse_products", count_sparse(result)}};
  if (result.ms) json["ms"] = *result.ms;
  if (result.dense_ms) json["dense_ms"] = *result.dense_ms;
  json["layers"] = std::move(layers);
  return json;
}

void print_result(const Options& options, const BuildEngineResult& result, Console& console) {
  console.info(fmt::format("wrote {} ({}) for {} and TensorRT {}", options.request.out.string(),
                           format_bytes(result.bytes), result.gpu, result.tensorrt));
  console.info(
      fmt::format("{} of {} products run 2:4", count_sparse(result), count_products(result)));
  if (result.ms && result.dense_ms) {
    console.info(fmt::format("{:.3f} ms a batch, {:.3f} ms without sparse kernels: {:.2f} times",
                             *result.ms, *result.dense_ms, *result.dense_ms / *result.ms));
  }
  print_layers(result, console.out());
}

int run_build(const Options& options, Console& console) {
  BuildEngineRequest request = options.request;
  request.batch = tensorrt::parse_range("--batch", options.batch);
  request.length = tensorrt::parse_range("--length", options.length);
  check_files(options);
  const InterruptCleanup cleanup(
      {request.out, request.out.string() + ".json", request.timing_cache, options.report});
  Callbacks callbacks;
  callbacks.log = [&](LogLevel level, const std::string& text) { console.log(level, text); };
  const BuildEngineResult result = build_engine_api().build(request, callbacks);
  if (result.up_to_date) {
    console.info(fmt::format("{} is up to date", request.out.string()));
    return kOk;
  }
  print_result(options, result, console);
  if (options.report.empty()) return kOk;
  write_file_atomically(options.report, json_text(report_json(options, result), 2) + "\n");
  console.info(fmt::format("wrote {}", options.report.string()));
  return kOk;
}

CLI::Validator dimension_range() {
  return accepted_by([](const std::string& text) { tensorrt::parse_range("range", text); });
}

void add_options(CLI::App& app, Options& options) {
  BuildEngineRequest& request = options.request;
  app.add_option("onnx", request.onnx, "File of twofour export --target tensorrt")
      ->required()
      ->type_name("FILE.onnx");
  app.add_option("--out", request.out, "Engine to write")
      ->required()
      ->type_name("FILE.plan")
      ->check(path_name());
  app.add_option("--batch", options.batch, "Sequences: one number, or least,usual,largest")
      ->capture_default_str()
      ->check(dimension_range());
  app.add_option("--length", options.length, "Tokens of a sequence: the same")
      ->capture_default_str()
      ->check(dimension_range());
  app.add_flag("--sparse,!--no-sparse", request.sparse, "Let TensorRT choose sparse kernels [on]");
  app.add_flag("--compare-dense", request.compare_dense,
               "Build once more without sparse kernels and time both");
  app.add_option("--timing-cache", request.timing_cache, "File of measurements to read and write")
      ->type_name("FILE")
      ->check(path_name());
  app.add_option("--workspace", request.workspace_mb, "MB of device memory for a layer's scratch")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_flag("--force", request.force, "Build even where the engine is up to date");
  app.add_option("--report", options.report, "JSON to write: every layer and its kernel")
      ->type_name("FILE.json")
      ->check(path_name());
}

}  // namespace

Command add_build_engine(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app = root.add_subcommand("build-engine",
                                      "Build a TensorRT engine and show which layers run sparse");
  app->footer(kExamples);
  add_options(*app, *options);
  return {app, [options, &console] { return run_build(*options, console); }};
}

}  // namespace twofour::cli
