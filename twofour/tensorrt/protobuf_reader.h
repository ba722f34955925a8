// Protobuf's encoding, field by field: for the little of an ONNX file that is looked at here,
// without protobuf and ONNX's classes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace twofour::tensorrt {

struct ProtobufField {
  uint64_t number = 0;
  uint64_t value = 0;      // of a whole number
  std::string_view bytes;  // of a text or a message, inside the message that it was taken from
};

// The next one of `message`, which then begins behind it; nothing at the end, and where this is no
// message: it is left as it was then.
std::optional<ProtobufField> take_field(std::string_view& message);

// Of the first field with this number; empty where there is none.
std::string_view bytes_of_field(std::string_view message, uint64_t number);

}  // namespace twofour::tensorrt
