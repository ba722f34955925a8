#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/cli/command.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/validators.h"
#include "twofour/graph/network.h"
#include "twofour/io/json.h"
#include "twofour/io/tokenizer.h"
#include "twofour/train/api.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(Finds the scale of each quantized tensor from sample pairs and writes an int8 model: post-training
quantization. A 2:4 model stays 2:4. Needs the training library.

Examples:
  twofour calibrate model train.tsv --out model-int8
  twofour calibrate model train.tsv --out model-int8 --method entropy --batches 64
  twofour calibrate model train.tsv --out model-int8 --json | jq .scales)";

struct Options {
  CalibrateRequest request;
  std::string method = CalibrationMethod{}.to_string();
  bool force = false, json = false;
};

// The default is cut to what the model reads; a length that somebody names is not.
void check_given_length(const CalibrateRequest& request) {
  const ModelConfig config = ModelDirectory::open(request.model).config();
  check_max_length(request.max_length, classifies(config.head) ? 2 : 1, config);
}

// By quantization point.
Json scales_of(const ModelDirectory& model) {
  const Network network = build_network(model.config());
  Json scales = Json::object();
  for (const Op& op : network.ops) {
    if (!op.prunable) continue;
    const QuantPoint& point = network.quant_points[network.values[op.inputs[0]].quant_point];
    const std::string name = op.name + ".input_scale";
    scales[point.name] = to_f32(model.tensor(name), name).as<float>()[0];
  }
  return scales;
}

void print_json(const CalibrateRequest& request, std::ostream& out) {
  const Json json = {{"model", request.model.string()},
                     {"data", request.data.string()},
                     {"out", request.out.string()},
                     {"method", request.method.to_string()},
                     {"scales", scales_of(ModelDirectory::open(request.out))}};
  out << json_text(json, 2) << '\n';
}

int run_calibrate(Options& options, bool length_given, Console& console) {
  options.request.method = CalibrationMethod::parse(options.method);
  check_output_model(options.request.out, options.request.model, options.force);
  const InterruptCleanup cleanup({options.request.out});
  if (length_given) check_given_length(options.request);
  train_api().calibrate(options.request, console.callbacks());
  if (options.json) print_json(options.request, console.out());
  console.info(fmt::format("wrote {}", options.request.out.string()));
  return kOk;
}

}  // namespace

Command add_calibrate(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CalibrateRequest& request = options->request;
  CLI::App* app =
      root.add_subcommand("calibrate", "Quantize a float model to int8 without training");
  app->footer(kExamples);
  app->add_option("model", request.model, "Float model directory, dense or 2:4")
      ->required()
      ->type_name("MODEL");
  app->add_option("data", request.data,
                  "Sample pairs: TSV, JSONL or BEIR qrels; labels are not needed")
      ->required()
      ->type_name("DATA");
  app->add_option("--out", request.out, "Model directory to write")
      ->required()
      ->type_name("DIR")
      ->check(path_name());
  app->add_flag("--force", options->force, "Replace the model that --out holds");
  app->add_option("--method", options->method, "max, percentile[:P], entropy or mse")
      ->capture_default_str()
      ->check(accepted_by([](const std::string& text) { CalibrationMethod::parse(text); }));
  app->add_option("--batches", request.batches, "Batches to read")
      ->capture_default_str()
      ->check(positive_number());
  app->add_option("--batch-pairs", request.batch_pairs, "Pairs in a batch")
      ->capture_default_str()
      ->check(positive_number());
  auto* length = app->add_option("--max-length", request.max_length,
                                 "Tokens of a pair; the default is at most the model's")
                     ->capture_default_str()
                     ->check(positive_number());
  app->add_option("--seed", request.seed, "Of the choice of pairs")
      ->capture_default_str()
      ->check(whole_number());
  app->add_option("--threads", request.threads, "CPU threads [all cores]")
      ->check(CLI::Range(1, 1024));
  app->add_flag("--json", options->json, "Scales, for machines");
  return {app, [options, length, &console] {
            return run_calibrate(*options, length->count() > 0, console);
          }};
}

}  // namespace twofour::cli
