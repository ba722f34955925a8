#include <fmt/format.h>

#include <filesystem>

#include "twofour/cli/command.h"
#include "twofour/train/api.h"

namespace twofour::cli {
namespace {

constexpr const char* kExamples =
    R"(Finds the scale of each quantized tensor from sample pairs and writes an int8 model: post-training
quantization. A 2:4 model stays 2:4. Needs the training library.

Examples:
  twofour calibrate model train.tsv --out model-int8
  twofour calibrate model train.tsv --out model-int8 --method entropy --batches 64)";

struct Options {
  CalibrateRequest request;
  std::string method = CalibrationMethod{}.to_string();
};

int run_calibrate(Options& options, Console& console) {
  options.request.method = CalibrationMethod::parse(options.method);
  train_api().calibrate(options.request, console.callbacks());
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
  app->add_option("data", request.data, "Sample pairs: TSV, JSONL or BEIR qrels")
      ->required()
      ->type_name("DATA");
  app->add_option("--out", request.out, "Model directory to write")->required()->type_name("DIR");
  app->add_option("--method", options->method, "max, percentile[:P], entropy or mse")
      ->capture_default_str();
  app->add_option("--batches", request.batches, "Batches to read")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--batch-pairs", request.batch_pairs, "Pairs in a batch")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--max-length", request.max_length, "Tokens of a pair")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--seed", request.seed, "Of the choice of pairs")->capture_default_str();
  app->add_option("--threads", request.threads, "CPU threads [all cores]")
      ->check(CLI::Range(1, 1024));
  return {app, [options, &console] { return run_calibrate(*options, console); }};
}

}  // namespace twofour::cli
