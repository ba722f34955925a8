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

Json key_json(const EngineKey& key) {
  return {{"format", kFormat},
          {"gpu", key.gpu},
          {"capability", key.capability},
          {"tensorrt", key.tensorrt},
          {"onnx", key.onnx},
          {"batch", to_string(key.batch)},
          {"length", to_string(key.length)},
          {"sparse", key.sparse}};
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
  if (!fs::exists(plan)) return "it is not there";
  if (!fs::exists(key_path(plan))) return "it has no key beside it";
  const Json stored = Json::parse(read_file(key_path(plan)), nullptr, false);
  if (!stored.is_object()) return "its key is no JSON object";
  if (auto reason = difference(stored, key_json(wanted))) return reason;
  if (!stored.contains("plan") || stored["plan"] != hex(checksum64(read_file(plan))))
    return "its bytes are not those that were built";
  return std::nullopt;
}

}  // namespace twofour::tensorrt
