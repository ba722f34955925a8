#include "twofour/train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/io/model_directory.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json to_json(const TrainSummary& summary) {
  return {{"steps", summary.steps},
          {"seconds", summary.seconds},
          {"pairs_per_second", summary.pairs_per_second},
          {"sparsity", summary.sparsity},
          {"dev", summary.dev}};
}

TrainSummary summary_from_json(const json& object) {
  TrainSummary summary;
  summary.finished = true;
  object.at("steps").get_to(summary.steps);
  object.at("seconds").get_to(summary.seconds);
  object.at("pairs_per_second").get_to(summary.pairs_per_second);
  object.at("sparsity").get_to(summary.sparsity);
  for (const auto& [name, value] : object.at("dev").items()) {
    if (value.is_number()) summary.dev[name] = value.get<double>();  // JSON writes infinity as null
  }
  return summary;
}

// By a start that another one overtook, or that ended before its first line.
bool is_made_only(const fs::path& log) {
  std::error_code ignored;
  return fs::file_size(log, ignored) == 0;
}

}  // namespace

RunLock::RunLock(const fs::path& log) : log_(log) {
  take(0);
  absent_ = descriptor_ < 0 && errno == ENOENT;
}

RunLock::~RunLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RunLock::make() {
  if (!absent_) return;
  std::error_code ignored;  // who writes the log says why it cannot be made
  fs::create_directories(log_.parent_path(), ignored);
  take(O_CREAT | O_EXCL);
}

// Between the making of a log and its lock another process may lock it: the folder is that one's.
void RunLock::take(int flags) {
  descriptor_ = ::open(log_.c_str(), O_RDWR | O_CLOEXEC | flags, 0666);
  const bool opened = descriptor_ >= 0;
  const bool held_by_other =
      opened ? ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
             : errno == EEXIST;
  if (!held_by_other) return;
  if (opened) ::close(std::exchange(descriptor_, -1));
  throw Error(log_.parent_path().string(), "is in use by another twofour train",
              "Wait until that ends, or choose another folder.");
}

void RunFolder::recover() const {
  if (!is_there(path_)) return;
  recover_directory(checkpoint());
  recover_directory(model());
}

void RunFolder::check(bool resume) const {
  const std::array paths = {checkpoint(), model(), summary(), log()};
  const auto present = std::ranges::find_if(paths, is_there);
  const bool finished = is_there(summary()) && !lost_model();
  if (resume && present == paths.end()) {
    throw Error(path_.string(), "holds no run to resume",
                "Start it without --resume, or correct --out.");
  }
  if (resume) {
    if (finished) return;  // it only tells what it did
    check_place(model());
    check_model_destination(model());
    return;
  }
  check_place(model());
  const bool has_log_only = present != paths.end() && *present == log();
  if (has_log_only && !is_made_only(log())) {
    throw Error(log().string(),
                "is of a run that has left no checkpoint: there is nothing to resume",
                "Remove it to start again (so does --resume), or choose another folder.");
  }
  if (finished) {
    throw Error(path_.string(), "holds a run already, which has finished",
                "Choose another folder.");
  }
  if (present != paths.end() && !has_log_only) {
    throw Error(path_.string(),
                fmt::format("holds a run already: {} is there", present->filename().string()),
                "Resume it (--resume), or choose another folder.");
  }
  if (const std::string foreign = foreign_name(); !foreign.empty()) {
    throw Error(path_.string(),
                fmt::format("is a folder that holds something other than a run: {}", foreign),
                "Choose another folder, or empty it.");
  }
}

// A checkpoint that stands can write it again.
bool RunFolder::lost_model() const { return !is_there(model()) && is_there(checkpoint()); }

std::string RunFolder::foreign_name() const {
  std::string first;
  if (!is_there(path_)) return first;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (entry.path() == log()) continue;
    if (first.empty() || name < first) first = name;
  }
  return first;
}

// With the last checkpoint gone, the model is all that is left of the training.
std::string RunFolder::summary_remedy() const {
  if (is_there(checkpoint())) {
    return "Remove it and run the same command with --resume: the checkpoint writes it again.";
  }
  if (!is_there(model())) return "Put it back, or remove it and resume to train again.";
  return fmt::format(
      "Restore it from a copy, or do without it: {} is whole. Without {}, --resume trains the run "
      "again from its start and replaces that model.",
      model().string(), summary().filename().string());
}

std::optional<TrainSummary> RunFolder::finished(const Fingerprint& fingerprint,
                                                const Sources& sources) const {
  if (!is_there(summary())) return std::nullopt;
  const std::string remedy = summary_remedy();
  try {
    const json object =
        parse_json(read_file(summary()), summary().string(), {"is damaged", remedy});
    check_same(object.at("fingerprint").get<Fingerprint>(), fingerprint, sources,
               summary().string());
    TrainSummary result = summary_from_json(object);
    result.model = model();
    if (lost_model()) return std::nullopt;
    if (!is_there(model())) {
      throw Error(model().string(),
                  fmt::format("is missing, but {} says that the run has finished",
                              summary().filename().string()),
                  fmt::format("Put it back, or remove {} and resume to train it again.",
                              summary().filename().string()));
    }
    return result;
  } catch (const json::exception& error) {
    throw Error(summary().string(), "is damaged: " + json_reason(error), remedy);
  }
}

std::optional<Checkpoint> RunFolder::checkpoint_of(const Fingerprint& fingerprint,
                                                   const Sources& sources) const {
  if (!is_there(checkpoint())) return std::nullopt;
  Checkpoint loaded = load_checkpoint(checkpoint());
  check_same(loaded.fingerprint, fingerprint, sources, checkpoint().string());
  return loaded;
}

void RunFolder::finish(const TrainSummary& result, const Fingerprint& fingerprint) const {
  json object = to_json(result);
  object["fingerprint"] = fingerprint;
  write_file_atomically(summary(), object.dump(2) + "\n");
  std::error_code ignored;  // a checkpoint that stays costs disk space only
  std::filesystem::remove_all(checkpoint(), ignored);
}

}  // namespace twofour
