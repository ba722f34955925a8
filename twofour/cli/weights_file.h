// `inspect` of a file: the weights of any network, counted one by one.
#pragma once

#include <filesystem>

#include "twofour/cli/console.h"
#include "twofour/sparse/convolution.h"

namespace twofour::cli {

// By its name, one of FILE.safetensors and FILE.safetensors.index.json.
bool is_safetensors(const std::filesystem::path& path);

// By its name, one of these or FILE.onnx.
bool is_weights_file(const std::filesystem::path& path);

// Prints a table, or JSON. Throws Error: a file that cannot be read or has no weights.
void inspect_weights_file(const std::filesystem::path& path, ConvLayout layout, bool json,
                          Console& console);

}  // namespace twofour::cli
