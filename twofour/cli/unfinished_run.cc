#include "twofour/cli/unfinished_run.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kRemedy =
    "twofour train --resume says what to do about it; a report on a copy of the run without "
    "checkpoint/ does without it";

// {"step", "steps", "stage", "status"} of a checkpoint. One of an early version says neither how
// many steps the run has nor what its stage is called.
Json position_of(const fs::path& file) {
  if (!is_there(file)) throw Error(file.string(), "is missing", kRemedy);
  const auto json = JsonObject::parse(read_file(file), file.string(), {"damaged JSON", kRemedy});
  const auto state = json.object("state");
  if (!state) throw Error(file.string(), "key \"state\" is missing", kRemedy);
  const auto count = [](const JsonObject& object, const char* key) {
    return object.integer(key, 0, std::numeric_limits<int64_t>::max());
  };
  const int64_t step = count(*state, "step"), stage = count(*state, "stage");
  Json position = {{"step", step}};
  std::string status = fmt::format("unfinished, step {}", step);
  if (const auto progress = json.object("progress")) {
    const int64_t steps = count(*progress, "steps"), stages = count(*progress, "stages");
    position["steps"] = steps;
    status += fmt::format(" of {}", steps);
    if (stage < stages) {
      position["stage"] = progress->string("stage");
      status += fmt::format(", stage {} ({} of {})", progress->string("stage"), stage + 1, stages);
    } else {
      status += ", its model not written yet";
    }
  }
  position["status"] = status;
  return position;
}

}  // namespace

// As the trainer has it: a summary stands for the end, unless its model can and must be written
// again.
Json unfinished_run(const fs::path& run, int64_t logged_step) {
  const bool model = is_there(run / "model"), summary = is_there(run / "summary.json");
  Json json;
  if (is_there(run / "checkpoint") && !(summary && model)) {
    json = position_of(run / "checkpoint/state.json");
  } else if (logged_step >= 0 && !summary && !model) {
    json = {{"step", logged_step},
            {"status", fmt::format("unfinished, step {}, no checkpoint", logged_step)}};
  } else {
    return nullptr;
  }
  json["resume"] = fmt::format(
      "Unless it is running, it goes on with the command that began it and --resume: "
      "twofour train ... --out {} --resume",
      run.string());
  return json;
}

}  // namespace twofour::cli
