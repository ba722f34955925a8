// `export --format compressed-tensors`: an int8 model as the package compressed-tensors reads it.
#pragma once

#include <filesystem>

#include "twofour/graph/inspect.h"

namespace twofour::cli {

// Writes the model directory `out` in format int-quantized: the tensors of ModelDirectory as they
// are, zeros in place, and a quantization_config of compressed-tensors' own words. An existing
// model directory at `out` is replaced. Returns what was written, read again. Throws Error: a float
// model, a head without weights, `out` is the model itself or holds something else.
ModelReport export_compressed_tensors(const std::filesystem::path& model,
                                      const std::filesystem::path& out);

}  // namespace twofour::cli
