// Gathers what a run's folder holds into the data of a report page.
//
//   log.jsonl   the trainer's log: rows of steps and of evaluations
//   model/      the result; a model directory by itself is a run too
//   summary.json  of a finished run
//   eval.json   twofour eval --out
//   bench.json  twofour bench --out
//   scores.jsonl.zst  twofour eval --scores: differences to the first run get an interval
//   eval-NAME.json, scores-NAME.jsonl.zst  the same on a further set of data, "NAME"
//
// Each may be absent, but not all.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace twofour::cli {

// The folder that a path of the command means. A folder "model" is that of the run around it, which
// holds the results, unless there are some beside the weights.
std::filesystem::path run_of(const std::filesystem::path& path);

// {"runs": [{"name", "recipe", "model", "eval", "bench", "curves": {"loss": [[step, value], ...]},
// "stages"}], "sets": [{"name", "runs": [{"name", "eval", "differences"}]}]} Throws Error naming
// the file.
nlohmann::ordered_json collect_report(const std::vector<std::filesystem::path>& runs);

}  // namespace twofour::cli
