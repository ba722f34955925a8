// A dense float model as it would be after training, in memory: made sparse and int8 at once, with
// scales that no calibration chose. Right in speed and size, meaningless in quality.
#pragma once

#include <memory>

#include "twofour/cli/console.h"
#include "twofour/runtime/engine.h"

namespace twofour::cli {

struct AsIf {
  bool sparse = false;  // 2:4 before int8
  int share_rows = 1;
};

// Throws Error unless `model` is float and none of its encoder's layers is 2:4. Layers that cannot
// be 2:4 become int8 alone.
std::shared_ptr<const Engine> load_as_if(const ModelDirectory& model, const AsIf& as_if,
                                         const EngineOptions& options, Console& console);

}  // namespace twofour::cli
