// Gathers what a run's folder holds into the data of a report page.
//
//   log.jsonl   the trainer's log: rows of steps and of evaluations
//   model/      the result; a model directory by itself is a run too
//   checkpoint/  of a run that has not finished
//   summary.json  of a finished run
//   eval.json   twofour eval --out
//   bench.json  twofour bench --out
//   scores.jsonl.zst  twofour eval --scores: differences to the first run get an interval
//   test.run.zst  twofour eval --run: rankings
//   eval-NAME.json, scores-NAME.jsonl.zst  the same on a further set of data, "NAME"
//
// Each may be absent, but not all. What eval and bench write may lie in model/ instead; of two,
// that beside model/ counts.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace twofour::cli {

// The folder of the run that a path of the command means: it, a link to it, or its model/. Throws
// Error if there is no such folder.
std::filesystem::path run_of(const std::filesystem::path& path);

// Where a run's result of that name is, or would be beside its model/.
std::filesystem::path result_file(const std::filesystem::path& run, const std::string& name);

// Names of results that lie both beside model/ and in it, and differ.
std::vector<std::string> twofold_results(const std::filesystem::path& run);

// {"runs": [{"name", "recipe", "model", "eval", "bench", "curves": {"loss": [[step, value], ...]},
// "stages", "unfinished"}], "sets": [{"name", "runs": [{"name", "eval", "differences"}]}]} Throws
// Error naming the file.
nlohmann::ordered_json collect_report(const std::vector<std::filesystem::path>& runs);

}  // namespace twofour::cli
