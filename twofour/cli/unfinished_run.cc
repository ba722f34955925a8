#include "twofour/cli/unfinished_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <vector>

#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kRemedy =
    "twofour train --resume says what to do about it; a report on a copy of the run without "
    "checkpoint/ does without it";

struct Position {
  int64_t step = 0, stage = 0, stage_step = 0;
  std::string recipe;  // YAML, as the run resolved it
};

// Nothing while a checkpoint takes the place of the one before.
std::optional<Position> read_position(const fs::path& file) {
  if (!fs::exists(file)) return std::nullopt;
  const auto json = JsonObject::parse(read_file(file), file.string(), {"damaged JSON", kRemedy});
  const auto state = json.object("state");
  if (!state) return std::nullopt;
  const auto count = [&](const char* key) {
    return state->integer(key, 0, std::numeric_limits<int64_t>::max());
  };
  Position position{count("step"), count("stage"), count("stage_step"), ""};
  if (const auto fingerprint = json.object("fingerprint"))
    position.recipe = fingerprint->string_or("recipe", "");
  return position;
}

// Steps of each stage. The text is the library's own, one key a line; a reader of YAML is only in
// the training half.
std::vector<int64_t> stage_steps(const std::string& recipe) {
  constexpr std::string_view kStage = "  - name: ", kSteps = "    steps: ";
  std::vector<int64_t> steps;
  std::istringstream lines(recipe);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kStage)) steps.push_back(0);
    if (!line.starts_with(kSteps) || steps.empty()) continue;
    std::from_chars(line.data() + kSteps.size(), line.data() + line.size(), steps.back());
  }
  return steps;
}

// Earlier stages may have ended before their last step.
int64_t total_steps(const Position& at, const std::vector<int64_t>& stages) {
  int64_t left = -at.stage_step;
  for (size_t i = at.stage; i < stages.size(); ++i) left += stages[i];
  return at.step + std::max<int64_t>(left, 0);
}

Json resumable(const fs::path& run, const Position& at, const LogEnd& log) {
  const auto stages = stage_steps(at.recipe);
  const bool trained = !stages.empty() && at.stage >= std::ssize(stages);
  Json json = {{"step", at.step}};
  std::string status = fmt::format("unfinished, step {}", at.step);
  if (!stages.empty()) {
    json["steps"] = total_steps(at, stages);
    status += fmt::format(" of {}", total_steps(at, stages));
  }
  if (trained) {
    status += ", its model not written yet";
  } else if (!log.stage.empty()) {
    json["stage"] = log.stage;
    status += ", stage " + log.stage;
    if (!stages.empty()) status += fmt::format(" ({} of {})", at.stage + 1, stages.size());
  }
  json["status"] = status;
  json["resume"] = fmt::format(
      "To go on, give the command that began it, with --resume: twofour train ... --out {} "
      "--resume",
      run.string());
  return json;
}

Json lost(const fs::path& run, const LogEnd& log) {
  Json json = {{"step", std::max<int64_t>(log.step, 0)}};
  std::string status = fmt::format("unfinished, step {}", std::max<int64_t>(log.step, 0));
  if (!log.stage.empty()) {
    json["stage"] = log.stage;
    status += ", stage " + log.stage;
  }
  json["status"] = status + ", no checkpoint yet";
  json["resume"] = fmt::format(
      "Where it no longer runs, it starts again with the command that began it and --resume: "
      "twofour "
      "train ... --out {} --resume",
      run.string());
  return json;
}

}  // namespace

// As the trainer has it: a summary stands for the end, unless its model can and must be written
// again.
Json unfinished_run(const fs::path& run, const LogEnd& log) {
  const bool checkpoint = fs::exists(run / "checkpoint"), model = fs::exists(run / "model");
  const bool summary = fs::exists(run / "summary.json");
  if (checkpoint && !(summary && model)) {
    const auto at = read_position(run / "checkpoint/state.json");
    if (at) return resumable(run, *at, log);
  }
  const bool logged = log.step >= 0 || !log.stage.empty();
  if (logged && !summary && !model) return lost(run, log);
  return nullptr;
}

}  // namespace twofour::cli
