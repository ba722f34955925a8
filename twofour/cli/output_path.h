// Where a command is told to write: refused before it does any work, and written.
#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <vector>

namespace twofour::cli {

// A single file; an empty path stands for none. Throws Error: its folder does not exist, which is
// most often a typing error (folders that a command fills make their parents themselves), it is a
// folder, or it is one of `inputs`: of a folder among them any file but results of commands
// (eval*.json, bench*.json, scores*, *.run.zst, *.html), which belong beside a model.
void check_output_file(const std::filesystem::path& path,
                       const std::vector<std::filesystem::path>& inputs = {});

// Several of them: as above, and no two are one. Empty paths stand for none.
void check_output_files(const std::vector<std::filesystem::path>& paths,
                        const std::vector<std::filesystem::path>& inputs = {});

// A page: as a single file, and it must end in .html, unless it is a stream.
void check_output_page(const std::filesystem::path& path,
                       const std::vector<std::filesystem::path>& inputs);

// A model directory made from `model`. Throws Error: it is the model itself,
// check_model_destination refuses it, nothing can be made there, or it holds a model, which only
// `replace` allows.
void check_output_model(const std::filesystem::path& path, const std::filesystem::path& model,
                        bool replace);

// A character device or a pipe, or what standard output is open to, however it is named.
bool is_stream(const std::filesystem::path& path);

// Streams get the bytes as they come, and an empty path is standard output; any other file is
// written whole or not at all.
void write_output(const std::filesystem::path& path, std::ostream& standard_output,
                  const std::function<void(std::ostream&)>& write);

}  // namespace twofour::cli
