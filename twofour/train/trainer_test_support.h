// What the tests of whole runs share: small models and data, short runs, comparison of results.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/train/trainer.h"

namespace twofour {

inline const std::filesystem::path kSource = TWOFOUR_SOURCE_DIR;

inline std::filesystem::path golden_model(const std::string& layout) {
  return kSource / "tests/golden" / layout / "model";
}

// A run of a shipped recipe, or of a recipe file, over the small English pairs; `name` makes its
// folder, which is not there yet.
inline TrainRequest small_run(const std::string& recipe, const std::string& layout,
                              const std::string& name) {
  TrainRequest request;
  request.recipe = recipe.ends_with(".yaml") ? std::filesystem::path(recipe)
                                             : kSource / "recipes" / (recipe + ".yaml");
  request.model = golden_model(layout);
  request.train_data = kSource / "tests/golden/data/en.tsv";
  request.dev_data = request.train_data;
  request.out = std::filesystem::path(testing::TempDir()) / ("run." + name);
  request.max_steps = 24;
  request.threads = 1;
  request.overrides = {{"batch_pairs", "16"}, {"autocast", "none"}};
  return request;
}

// A file with the first pairs of the small English data.
inline std::filesystem::path first_pairs(int count) {
  std::istringstream lines(read_file(kSource / "tests/golden/data/en.tsv"));
  std::string data, line;
  for (int i = 0; i <= count && std::getline(lines, line); ++i) data += line + "\n";
  const auto path = std::filesystem::path(testing::TempDir()) /
                    ("first." + std::to_string(count) + "." + std::to_string(getpid()) + ".tsv");
  write_file_atomically(path, data);
  return path;
}

inline TrainSummary run_afresh(const TrainRequest& request, const Callbacks& callbacks = {}) {
  std::filesystem::remove_all(request.out);
  return run_training(request, callbacks);
}

inline std::vector<nlohmann::json> log_rows(const std::filesystem::path& out,
                                            const std::string& kind) {
  std::vector<nlohmann::json> rows;
  std::istringstream lines(read_file(out / "log.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json row = nlohmann::json::parse(line);
    if (row.at("kind") == kind) rows.push_back(std::move(row));
  }
  return rows;
}

inline std::vector<double> step_losses(const std::filesystem::path& out) {
  std::vector<double> losses;
  for (const auto& row : log_rows(out, "step")) losses.push_back(row.at("loss").get<double>());
  return losses;
}

// Every file of a folder with its bytes.
inline std::map<std::string, std::string> contents_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    contents[std::filesystem::relative(entry.path(), folder).string()] = read_file(entry.path());
  }
  return contents;
}

template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

inline std::filesystem::path write_recipe(const std::string& name, const std::string& yaml) {
  const auto path = std::filesystem::path(testing::TempDir()) / (name + ".yaml");
  write_file_atomically(path, yaml);
  return path;
}

}  // namespace twofour
