// --precision, --attention, --activation-scales, --device, --plans, --backend and --engine of the
// commands that run a model.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "twofour/cli/console.h"
#include "twofour/runtime/engine.h"

namespace twofour::cli {

void add_engine_options(CLI::App& app, EngineOptions& options);

// "cpu", "cuda:0", "cuda:0, TensorRT with model.plan": of options that took effect.
std::string describe_device(const EngineOptions& options);

// What the engine warns of and, for --verbose, what it chose: the kernel of each layer.
void log_engine(const Engine& engine, Console& console);

// Engine::load, logged. `model`: a folder, or a ModelDirectory.
template <class Model>
std::shared_ptr<const Engine> load_engine(const Model& model, const EngineOptions& options,
                                          Console& console) {
  auto engine = Engine::load(model, options);
  log_engine(*engine, console);
  return engine;
}

// {"device": "cpu", "precision": "f32", "attention": "f32", "activation_scales": "static",
// "backend": "twofour"}: what took effect.
nlohmann::ordered_json engine_options_json(const Engine& engine);

}  // namespace twofour::cli
