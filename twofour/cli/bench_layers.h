// The products of a model's layers alone, as its engine multiplies them and as dense f32 ones in
// turns.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "twofour/cli/bench_models.h"
#include "twofour/runtime/engine.h"

namespace twofour::cli {

struct LayerResult {
  int64_t n = 0, k = 0;
  int count = 0;  // layers of this shape
  std::string kernel, dense_kernel;
  Timing as_if, dense;  // of one layer
  Ratio ratio;
  double share = 0;  // that all of them have in the dense model's time, that of its products alone
};

// Each shape of the int8 layers of `as_if`, in the order of the network. `whole` gives the case and
// the time of the dense model.
std::vector<LayerResult> measure_layers(const Engine& as_if, int share_rows, int repeat,
                                        const ModelResult& whole);

nlohmann::ordered_json to_json(const std::vector<LayerResult>& layers);
Table layers_table(const std::vector<LayerResult>& layers);

}  // namespace twofour::cli
