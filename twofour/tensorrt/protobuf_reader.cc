#include "twofour/tensorrt/protobuf_reader.h"

namespace twofour::tensorrt {
namespace {

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

}  // namespace

std::optional<ProtobufField> take_field(std::string_view& message) {
  std::string_view rest = message;
  const std::optional<uint64_t> tag = take_varint(rest);
  if (!tag) return std::nullopt;
  ProtobufField field;
  field.number = *tag / 8;
  if (*tag % 8 == 0) {
    const std::optional<uint64_t> value = take_varint(rest);
    if (!value) return std::nullopt;
    field.value = *value;
  } else {
    const std::optional<uint64_t> size = take_size(*tag % 8, rest);
    if (!size || *size > rest.size()) return std::nullopt;
    field.bytes = rest.substr(0, *size);
    rest.remove_prefix(*size);
  }
  message = rest;
  return field;
}

std::string_view bytes_of_field(std::string_view message, uint64_t number) {
  while (const std::optional<ProtobufField> field = take_field(message)) {
    if (field->number == number) return field->bytes;
  }
  return {};
}

}  // namespace twofour::tensorrt
