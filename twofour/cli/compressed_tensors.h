// `export --format compressed-tensors`: an int8 model as the package compressed-tensors reads it.
#pragma once

#include <filesystem>

#include "twofour/graph/inspect.h"

namespace twofour::cli {

// Writes the model directory `out` in format int-quantized: the tensors of ModelDirectory as they
// are, zeros in place, and a quantization_config of compressed-tensors' own words. Returns what was
// written, read again. Throws Error: a float model, a head without weights, `out` is the model
// itself, holds a model that is not to be replaced, or something else.
ModelReport export_compressed_tensors(const std::filesystem::path& model,
                                      const std::filesystem::path& out, bool replace);

}  // namespace twofour::cli
