// `inspect` of a file: the weights of any network, counted one by one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "twofour/cli/console.h"
#include "twofour/graph/weights.h"
#include "twofour/sparse/convolution.h"

namespace twofour::cli {

// By its name, FILE.onnx and no folder.
bool is_onnx(const std::filesystem::path& path);

// By its name, one of FILE.safetensors and FILE.safetensors.index.json.
bool is_safetensors(const std::filesystem::path& path);

// By its name, one of these or FILE.onnx.
bool is_weights_file(const std::filesystem::path& path);

// Prints a table, or JSON. Throws Error: a file that cannot be read or has no weights.
void inspect_weights_file(const std::filesystem::path& path, ConvLayout layout, bool json,
                          Console& console);

// The weights of `path` as JSON, and how many of them are 2:4.
nlohmann::ordered_json weights_json(const std::filesystem::path& path,
                                    const std::vector<WeightReport>& reports);
int64_t sparse_weights(const std::vector<WeightReport>& reports);

}  // namespace twofour::cli
