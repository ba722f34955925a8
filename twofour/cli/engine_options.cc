#include "twofour/cli/engine_options.h"

#include <fmt/format.h>

#include "twofour/backend/cuda/device.h"
#include "twofour/cli/validators.h"

namespace twofour::cli {
namespace {

void check_device(const std::string& name) {
  if (name != "cpu") cuda::device_ordinal(name);
}

}  // namespace

void add_engine_options(CLI::App& app, EngineOptions& options) {
  app.add_option(
         "--precision", options.precision,
         "Of products with float weights: f32, bf16, or on a GPU fp16 or fp8 [TWOFOUR_PRECISION, "
         "or f32; fp16 for int8 models on a GPU]")
      ->check(CLI::IsMember({"f32", "fp16", "bf16", "fp8"}));
  app.add_option("--attention", options.attention,
                 "Precision of attention: f32, bf16 or int8 [TWOFOUR_ATTENTION, or f32; on a GPU "
                 "that of --precision]")
      ->check(CLI::IsMember({"f32", "fp16", "bf16", "int8"}));
  app.add_option("--activation-scales", options.activation_scales,
                 "Of int8 layers: static, those of the file; asymmetric, with a zero point behind "
                 "GELU; per_token, found as they run; on a CPU [TWOFOUR_ACTIVATION_SCALES, or "
                 "static]")
      ->check(CLI::IsMember({"static", "asymmetric", "per_token"}));
  app.add_option("--device", options.device,
                 "cpu, or an NVIDIA GPU: cuda:0 [TWOFOUR_DEVICE, or cpu]")
      ->check(accepted_by(check_device));
  app.add_option("--plans", options.plans,
                 "On a GPU: kernels that twofour plan found there [TWOFOUR_PLANS]")
      ->type_name("FILE");
  app.add_option("--backend", options.backend,
                 "What runs the model: twofour, its own kernels, or tensorrt, the engine that "
                 "--engine names [TWOFOUR_BACKEND, or twofour]")
      ->check(CLI::IsMember({"twofour", "tensorrt"}));
  app.add_option("--engine", options.engine,
                 "With --backend tensorrt: engine that twofour build-engine made of MODEL on this "
                 "GPU [TWOFOUR_ENGINE]")
      ->type_name("FILE.plan");
}

std::string describe_device(const EngineOptions& options) {
  return options.engine.empty()
             ? options.device
             : fmt::format("{}, TensorRT with {}", options.device, options.engine);
}

void log_engine(const Engine& engine, Console& console) {
  for (const std::string& warning : engine.warnings()) console.log(LogLevel::kWarning, warning);
  const EngineOptions& options = engine.options();
  console.log(LogLevel::kDebug,
              fmt::format("on {}: products {}, attention {}, activations of int8 layers {}",
                          describe_device(options), options.precision, options.attention,
                          options.activation_scales));
  for (const LayerInfo& layer : engine.layers()) {
    console.log(LogLevel::kDebug,
                fmt::format("{}: {}{} [{}, {}] by {}{}", layer.name, layer.sparse ? "2:4 " : "",
                            layer.type, layer.n, layer.k, layer.kernel,
                            layer.why_dense.empty() ? "" : ": " + layer.why_dense));
  }
}

nlohmann::ordered_json engine_options_json(const Engine& engine) {
  const EngineOptions& options = engine.options();
  nlohmann::ordered_json json = {{"device", options.device},
                                 {"precision", options.precision},
                                 {"attention", options.attention},
                                 {"activation_scales", options.activation_scales},
                                 {"backend", options.backend}};
  if (!options.engine.empty()) json["engine"] = options.engine;
  return json;
}

}  // namespace twofour::cli
