#include "twofour/train/run_folder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

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

}  // namespace

void RunFolder::recover() const {
  if (!std::filesystem::exists(path_)) return;
  recover_directory(checkpoint());
  recover_directory(model());
}

void RunFolder::check(bool resume) const {
  if (resume) return;
  for (const auto& path : {checkpoint(), log(), model(), summary()}) {
    if (!std::filesystem::exists(path)) continue;
    throw Error(path_.string(),
                fmt::format("holds a run already: {} is there", path.filename().string()),
                "Resume it (--resume), or choose another folder.");
  }
}

std::optional<TrainSummary> RunFolder::finished(const Fingerprint& fingerprint) const {
  if (!std::filesystem::exists(summary())) return std::nullopt;
  try {
    const json object = json::parse(read_file(summary()));
    check_same(object.at("fingerprint").get<Fingerprint>(), fingerprint, summary().string());
    TrainSummary result = summary_from_json(object);
    result.model = model();
    return result;
  } catch (const json::exception& error) {
    throw Error(summary().string(), fmt::format("is damaged: {}", error.what()));
  }
}

std::optional<Checkpoint> RunFolder::checkpoint_of(const Fingerprint& fingerprint) const {
  if (!std::filesystem::exists(checkpoint())) return std::nullopt;
  Checkpoint loaded = load_checkpoint(checkpoint());
  check_same(loaded.fingerprint, fingerprint, checkpoint().string());
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
