// How far a run has come that twofour train has not finished, for the report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace twofour::cli {

// The end of log.jsonl; nothing in it: -1 and no name.
struct LogEnd {
  int64_t step = -1;
  std::string stage;
};

// {"step", "steps", "stage", "status", "resume"}: where --resume goes on, the steps of the whole
// run, the stage's name, and the two in words; null of a run that has finished, or of results
// without a run. "steps" and "stage" are absent where nobody knows them. Throws Error naming
// checkpoint/state.json if that is damaged.
nlohmann::ordered_json unfinished_run(const std::filesystem::path& run, const LogEnd& log);

}  // namespace twofour::cli
