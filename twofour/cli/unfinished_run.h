// How far a run has come that twofour train has not finished, for the report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace twofour::cli {

// {"step", "steps", "stage", "status", "resume"}: where --resume goes on, the steps of the whole
// run, the stage's name, and all of it in words; null of a run that has finished, or of results
// without a run. "steps" and "stage" are absent where nobody knows them. `logged_step` is the last
// one of log.jsonl, -1 without any. Throws Error naming checkpoint/state.json if that is missing
// from its folder or damaged.
nlohmann::ordered_json unfinished_run(const std::filesystem::path& run, int64_t logged_step);

}  // namespace twofour::cli
