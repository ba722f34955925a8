// Where a command is told to write, refused before it does any work.
#pragma once

#include <filesystem>
#include <vector>

namespace twofour::cli {

// A single file; an empty path stands for none. Throws Error: its folder does not exist, which is
// most often a typing error (folders that a command fills make their parents themselves), it is a
// folder, or it is one of `inputs`.
void check_output_file(const std::filesystem::path& path,
                       const std::vector<std::filesystem::path>& inputs = {});

// A model directory made from `model`. Throws Error: it is the model itself, or
// check_model_destination refuses it.
void check_output_model(const std::filesystem::path& path, const std::filesystem::path& model);

}  // namespace twofour::cli
