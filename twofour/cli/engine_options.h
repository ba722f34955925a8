// --precision, --attention and --device of the commands that run a model.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "twofour/runtime/engine.h"

namespace twofour::cli {

void add_engine_options(CLI::App& app, EngineOptions& options);

// {"device": "cpu", "precision": "f32", "attention": "f32"}: what took effect.
nlohmann::ordered_json engine_options_json(const Engine& engine);

}  // namespace twofour::cli
