#include "twofour/tensorrt/onnx_origin.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "twofour/io/file.h"
#include "twofour/tensorrt/protobuf_reader.h"

namespace twofour::tensorrt {
namespace {

// Of ModelProto, and of an entry of its properties.
constexpr uint64_t kMetadataProps = 14, kKey = 1;

std::string_view property(std::string_view model, std::string_view wanted) {
  while (const std::optional<ProtobufField> field = take_field(model)) {
    if (field->number != kMetadataProps) continue;
    std::string_view entry = field->bytes, key, value;
    while (const std::optional<ProtobufField> part = take_field(entry))
      (part->number == kKey ? key : value) = part->bytes;
    if (key == wanted) return value;
  }
  return {};
}

}  // namespace

std::string exported_model(const std::filesystem::path& onnx) {
  const std::string file = read_file(onnx);
  const auto origin = nlohmann::json::parse(property(file, "twofour"), nullptr, false);
  if (!origin.is_object() || !origin.contains("model") || !origin["model"].is_string())
    return "unknown";
  return origin["model"];
}

}  // namespace twofour::tensorrt
