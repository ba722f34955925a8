#include "twofour/tensorrt/onnx_origin.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "twofour/io/file.h"

namespace twofour::tensorrt {
namespace {

// Of ModelProto, and of an entry of its properties.
constexpr uint64_t kMetadataProps = 14, kKey = 1;

// A field of a message in protobuf's encoding; `bytes` are those of a text or message.
struct Field {
  uint64_t number = 0;
  std::string_view bytes;
};

std::optional<uint64_t> take_varint(std::string_view& message) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !message.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(message.front());
    message.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// How many bytes the field of a type has; nothing where there is no such type.
std::optional<uint64_t> take_size(uint64_t type, std::string_view& message) {
  switch (type) {
    case 0:
      return take_varint(message) ? std::optional<uint64_t>(0) : std::nullopt;
    case 1:
      return 8;
    case 2:
      return take_varint(message);
    case 5:
      return 4;
    default:
      return std::nullopt;
  }
}

// The next one; nothing at the end, and where this is no message.
std::optional<Field> take_field(std::string_view& message) {
  const std::optional<uint64_t> tag = take_varint(message);
  if (!tag) return std::nullopt;
  const std::optional<uint64_t> size = take_size(*tag % 8, message);
  if (!size || *size > message.size()) return std::nullopt;
  const Field field{*tag / 8, message.substr(0, *size)};
  message.remove_prefix(*size);
  return field;
}

std::string_view property(std::string_view model, std::string_view wanted) {
  while (const std::optional<Field> field = take_field(model)) {
    if (field->number != kMetadataProps) continue;
    std::string_view entry = field->bytes, key, value;
    while (const std::optional<Field> part = take_field(entry))
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
