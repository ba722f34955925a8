// ONNX files by hand, in protobuf's encoding, for tests of what reads them without its classes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofour::tensorrt {

inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
  return out;
}

inline std::string number_field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}

inline std::string bytes_field(int number, std::string_view bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

// An input of a graph; -1 is a dynamic dimension.
inline std::string onnx_input(const std::string& name, const std::vector<int64_t>& dims) {
  std::string shape;
  for (const int64_t dim : dims) {
    const auto size = static_cast<uint64_t>(dim);
    shape += bytes_field(1, dim < 0 ? bytes_field(2, "n") : number_field(1, size));
  }
  const std::string tensor = number_field(1, 7) + bytes_field(2, shape);  // 7: int64
  return bytes_field(11, bytes_field(1, name) + bytes_field(2, bytes_field(1, tensor)));
}

inline std::string onnx_node(const std::string& type, const std::string& name) {
  return bytes_field(1, bytes_field(3, name) + bytes_field(4, type));
}

// `graph` is made of the above, one after the other.
inline std::string onnx_model(uint64_t opset, const std::string& graph) {
  return number_field(1, 8) + bytes_field(7, graph) +
         bytes_field(8, bytes_field(1, "") + number_field(2, opset));
}

// A graph that twofour export could have written, as far as anybody looks.
inline std::string our_graph() {
  return onnx_node("Gather", "embeddings/Word") + onnx_node("MatMul", "a/MatMul") +
         onnx_input("input_ids", {-1, -1}) + onnx_input("attention_mask", {-1, -1}) +
         onnx_input("token_type_ids", {-1, -1});
}

}  // namespace twofour::tensorrt
