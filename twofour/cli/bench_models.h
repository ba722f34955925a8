// Whole models in turns, for bench.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <vector>

#include "twofour/cli/model_runner.h"
#include "twofour/cli/table.h"
#include "twofour/cli/timing.h"

namespace twofour::cli {

struct ModelResult {
  BenchCase shape;
  Timing model, other{};
  Ratio ratio{};               // with another model
  Session::GraphUse graphs{};  // of all runs, warm-up included
};

// `other` may be null.
ModelResult measure_models(const BenchCase& shape, int repeat,
                           const std::shared_ptr<const Engine>& model,
                           const std::shared_ptr<const Engine>& other);

// `compared`: whether there was another model.
nlohmann::ordered_json to_json(const std::vector<ModelResult>& results, bool compared);
Table results_table(const std::vector<ModelResult>& results, bool compared);
void print_results(const std::vector<ModelResult>& results, bool compared, std::ostream& out);

}  // namespace twofour::cli
