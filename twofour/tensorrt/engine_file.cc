#include "twofour/tensorrt/engine_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "twofour/base/checksum.h"
#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour::tensorrt {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;

std::string hex(uint64_t sum) { return fmt::format("{:016x}", sum); }

// What must be so to run it.
Json run_json(const EnginePlace& place, const std::string& model) {
  return {{"format", kFormat},
          {"gpu", place.gpu},
          {"capability", place.capability},
          {"tensorrt", place.tensorrt},
          {"model", model}};
}

Json key_json(const EngineKey& key) {
  Json json = run_json(key.place, key.model);
  json["onnx"] = key.onnx;
  json["batch"] = to_string(key.batch);
  json["length"] = to_string(key.length);
  json["sparse"] = key.sparse;
  return json;
}

void remove_file(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw Error(path.string(), fmt::format("cannot be replaced: {}", error.message()));
}

std::string shown(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::optional<std::string> difference(const Json& stored, const Json& wanted) {
  for (const auto& [name, value] : wanted.items()) {
    if (!stored.contains(name)) return fmt::format("its key lacks '{}'", name);
    if (stored[name] != value) {
      return fmt::format("{} was {}, now it is {}", name, shown(stored[name]), shown(value));
    }
  }
  return std::nullopt;
}

// Reads the plan's bytes, or says why it is not what `wanted` names.
std::optional<std::string> read_if(const fs::path& plan, const Json& wanted, std::string& bytes) {
  if (!fs::exists(plan)) return "it is not there";
  if (!fs::exists(key_path(plan))) return "it has no key beside it";
  const Json stored = Json::parse(read_file(key_path(plan)), nullptr, false);
  if (!stored.is_object()) return "its key is no JSON object";
  if (auto reason = difference(stored, wanted)) return reason;
  bytes = read_file(plan);
  if (!stored.contains("plan") || stored["plan"] != hex(checksum64(bytes)))
    return "its bytes are not those that were built";
  return std::nullopt;
}

}  // namespace

fs::path key_path(const fs::path& plan) { return plan.string() + ".json"; }

std::string onnx_checksum(const fs::path& onnx) {
  uint64_t sum = checksum64(read_file(onnx));
  const fs::path data = onnx.string() + ".data";
  if (fs::exists(data)) sum = checksum64(read_file(data), sum);
  return hex(sum);
}

void write_engine(const fs::path& plan, std::string_view bytes, const EngineKey& key) {
  if (fs::exists(key_path(plan))) remove_file(key_path(plan));
  write_file_atomically(plan, bytes);
  Json json = key_json(key);
  json["plan"] = hex(checksum64(bytes));
  write_file_atomically(key_path(plan), json.dump(2) + "\n");
}

std::optional<std::string> why_stale(const fs::path& plan, const EngineKey& wanted) {
  std::string bytes;
  return read_if(plan, key_json(wanted), bytes);
}

std::string read_engine(const fs::path& plan, const EnginePlace& place, const std::string& model) {
  std::string bytes;
  if (const auto reason = read_if(plan, run_json(place, model), bytes)) {
    throw Error(plan.string(), "cannot run here: " + *reason,
                "Build it with twofour build-engine on this GPU, from a file that twofour export "
                "wrote of this model");
  }
  return bytes;
}

}  // namespace twofour::tensorrt
