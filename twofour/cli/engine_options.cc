#include "twofour/cli/engine_options.h"

namespace twofour::cli {

void add_engine_options(CLI::App& app, EngineOptions& options) {
  const CLI::IsMember known({"f32", "bf16"});
  app.add_option("--precision", options.precision,
                 "Of products with float weights: f32 or bf16 [TWOFOUR_PRECISION, or f32]")
      ->check(known);
  app.add_option("--attention", options.attention,
                 "Precision of attention: f32 or bf16 [TWOFOUR_ATTENTION, or f32]")
      ->check(known);
}

nlohmann::ordered_json engine_options_json(const Engine& engine) {
  return {{"precision", engine.options().precision}, {"attention", engine.options().attention}};
}

}  // namespace twofour::cli
