#include "twofour/train/checkpoint.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/io/safetensors.h"
#include "twofour/train/torch_tensors.h"

namespace twofour {
namespace {

using nlohmann::json;

constexpr const char* kStateFile = "state.json";
constexpr const char* kTensorFile = "tensors.safetensors";
constexpr int kFormat = 1;

// A double as its shortest exact text: JSON has neither infinity nor NaN, and a metric may be
// infinite.
json exact(const Metrics& metrics) {
  json object = json::object();
  for (const auto& [name, value] : metrics) object[name] = fmt::format("{}", value);
  return object;
}

Metrics exact(const json& object) {
  Metrics metrics;
  for (const auto& [name, text] : object.items()) {
    const auto digits = text.get<std::string>();
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, metrics[name]);
    if (error != std::errc() || stop != end) {
      throw std::invalid_argument(fmt::format("{} is '{}', not a number", name, digits));
    }
  }
  return metrics;
}

json to_json(const TrainerState& s) {
  return {{"stage", s.stage},
          {"stage_step", s.stage_step},
          {"step", s.step},
          {"stage_pruned", s.stage_pruned},
          {"stage_started", s.stage_started},
          {"epoch", s.position.epoch},
          {"index", s.position.index},
          {"scales", s.scales},
          {"evaluated_step", s.evaluated_step},
          {"stale_evaluations", s.stale_evaluations},
          {"best", exact(s.best)},
          {"best_step", s.best_step},
          {"seconds", s.seconds},
          {"training_seconds", s.training_seconds},
          {"pairs", s.pairs},
          {"log_bytes", s.log_bytes}};
}

TrainerState state_from_json(const json& object) {
  TrainerState s;
  object.at("stage").get_to(s.stage);
  object.at("stage_step").get_to(s.stage_step);
  object.at("step").get_to(s.step);
  object.at("stage_started").get_to(s.stage_started);
  s.stage_pruned = object.value("stage_pruned", s.stage_started);  // not in all files
  object.at("epoch").get_to(s.position.epoch);
  object.at("index").get_to(s.position.index);
  object.at("scales").get_to(s.scales);
  object.at("evaluated_step").get_to(s.evaluated_step);
  object.at("stale_evaluations").get_to(s.stale_evaluations);
  s.best = exact(object.at("best"));
  object.at("best_step").get_to(s.best_step);
  object.at("seconds").get_to(s.seconds);
  object.at("training_seconds").get_to(s.training_seconds);
  object.at("pairs").get_to(s.pairs);
  object.at("log_bytes").get_to(s.log_bytes);
  return s;
}

void write_tensors(const std::filesystem::path& path, const TensorGroups& groups) {
  std::vector<at::Tensor> kept;  // what the views point into
  std::vector<NamedTensor> tensors;
  for (const auto& [group, members] : groups) {
    for (const auto& [name, tensor] : members) {
      kept.push_back(tensor.detach().cpu().contiguous());
      tensors.push_back({group + "/" + name, view_of(kept.back())});
    }
  }
  write_safetensors(path, std::move(tensors));
}

TensorGroups groups_in(const std::filesystem::path& path, const std::string& remedy) {
  const Safetensors file = Safetensors::open(path);
  TensorGroups groups;
  for (const std::string& name : file.names()) {
    const size_t slash = name.find('/');
    if (slash == std::string::npos)
      throw Error(path.string(), "tensor '" + name + "' has no group", remedy);
    groups[name.substr(0, slash)][name.substr(slash + 1)] = to_torch(file.get(name));
  }
  return groups;
}

// What the reader advises is for models, which may be fetched again. A file that cannot be read may
// be whole, so its checkpoint is not advised away.
TensorGroups read_tensors(const std::filesystem::path& path, const std::string& remedy) {
  const bool readable = std::ifstream(path).is_open();
  try {
    return groups_in(path, remedy);
  } catch (const Error& error) {
    if (!readable) throw;
    throw Error(error.where(), error.message(), remedy);
  }
}

std::string starting_again(const std::filesystem::path& path) {
  return fmt::format(
      "remove {} and run the same command with --resume: the run starts again and replaces a model "
      "that is there.",
      path.string());
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  const json state = {{"format", kFormat},
                      {"state", to_json(checkpoint.state)},
                      {"progress",
                       {{"stage", checkpoint.progress.stage},
                        {"stages", checkpoint.progress.stages},
                        {"steps", checkpoint.progress.steps}}},
                      {"fingerprint", checkpoint.fingerprint}};
  write_directory_atomically(path, [&](const std::filesystem::path& folder) {
    write_tensors(folder / kTensorFile, checkpoint.tensors);
    write_file_atomically(folder / kStateFile, state.dump(2) + "\n");
  });
}

std::string checkpoint_remedy(const std::filesystem::path& path) {
  return "Restore it from a copy, or " + starting_again(path);
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  const std::string remedy = checkpoint_remedy(path);
  for (const char* name : {kStateFile, kTensorFile}) {
    if (!is_there(path / name)) throw Error((path / name).string(), "is missing", remedy);
  }
  const std::filesystem::path file = path / kStateFile;
  const auto fail = [&](const std::string& why) {
    throw Error(file.string(), "is damaged: " + why, remedy);
  };
  Checkpoint checkpoint;
  try {
    const json state = parse_json(read_file(file), file.string(), {"is damaged", remedy});
    if (state.at("format") != kFormat) {
      throw Error(file.string(), "is of another version of the training library",
                  "Resume with the version that wrote it, or " + starting_again(path));
    }
    checkpoint.state = state_from_json(state.at("state"));
    state.at("fingerprint").get_to(checkpoint.fingerprint);
  } catch (const json::exception& error) {
    fail(json_reason(error));
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
  checkpoint.tensors = read_tensors(path / kTensorFile, remedy);
  return checkpoint;
}

}  // namespace twofour
