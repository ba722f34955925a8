#include "twofour/tensorrt/onnx_file.h"

#include <fmt/format.h>

#include <set>
#include <string_view>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/tensorrt/protobuf_reader.h"

namespace twofour::tensorrt {
namespace {

constexpr std::string_view kRemedy = "Write the file with twofour export --target tensorrt";

// Numbers of fields in ONNX's messages.
constexpr uint64_t kModelGraph = 7, kModelOpset = 8;
constexpr uint64_t kOpsetDomain = 1, kOpsetVersion = 2;
constexpr uint64_t kGraphNode = 1, kGraphInitializer = 5, kGraphInput = 11;
constexpr uint64_t kNodeName = 3, kNodeType = 4;
constexpr uint64_t kTensorName = 8;
constexpr uint64_t kInputName = 1, kInputType = 2;
constexpr uint64_t kTypeTensor = 1, kTensorShape = 2, kShapeDim = 1, kDimValue = 1;

// Calls visit(field) for each; false where this is no message.
template <class Visit>
bool each_field(std::string_view message, const Visit& visit) {
  while (const auto field = take_field(message)) visit(*field);
  return message.empty();
}

// A dimension with a name, or without anything, is dynamic.
int64_t read_dim(std::string_view dim) {
  int64_t size = -1;
  each_field(dim, [&](const ProtobufField& field) {
    if (field.number == kDimValue) size = static_cast<int64_t>(field.value);
  });
  return size;
}

NetworkInput read_input(std::string_view info) {
  NetworkInput input{std::string(bytes_of_field(info, kInputName)), {}};
  const std::string_view tensor = bytes_of_field(bytes_of_field(info, kInputType), kTypeTensor);
  each_field(bytes_of_field(tensor, kTensorShape), [&](const ProtobufField& field) {
    if (field.number == kShapeDim) input.dims.push_back(read_dim(field.bytes));
  });
  return input;
}

bool read_graph(std::string_view graph, OnnxFile& file) {
  std::set<std::string_view> initializers;
  const bool whole = each_field(graph, [&](const ProtobufField& field) {
    if (field.number == kGraphNode) {
      file.nodes.push_back({std::string(bytes_of_field(field.bytes, kNodeType)),
                            std::string(bytes_of_field(field.bytes, kNodeName))});
    }
    if (field.number == kGraphInput) file.inputs.push_back(read_input(field.bytes));
    if (field.number == kGraphInitializer)
      initializers.insert(bytes_of_field(field.bytes, kTensorName));
  });
  std::erase_if(file.inputs,
                [&](const NetworkInput& input) { return initializers.contains(input.name); });
  return whole;
}

void read_opset(std::string_view opset, OnnxFile& file) {
  const std::string_view domain = bytes_of_field(opset, kOpsetDomain);
  if (!domain.empty() && domain != "ai.onnx") return;
  each_field(opset, [&](const ProtobufField& field) {
    if (field.number == kOpsetVersion) file.opset = static_cast<int64_t>(field.value);
  });
}

}  // namespace

OnnxFile read_onnx(const std::filesystem::path& onnx) {
  const std::string bytes = read_file(onnx);
  OnnxFile file;
  bool has_graph = false;
  const bool whole = each_field(bytes, [&](const ProtobufField& field) {
    if (field.number == kModelOpset) read_opset(field.bytes, file);
    if (field.number == kModelGraph) has_graph = read_graph(field.bytes, file);
  });
  if (!has_graph || !whole)
    throw Error(onnx.string(), "is no ONNX model, or it is damaged", kRemedy);
  return file;
}

void check_onnx(const std::filesystem::path& onnx) {
  const OnnxFile file = read_onnx(onnx);
  if (file.opset < kLeastOpset) {
    throw Error(
        onnx.string(),
        fmt::format("its operator set is {}, expected {} or later", file.opset, kLeastOpset),
        kRemedy);
  }
  choose_profile(onnx.string(), file.inputs, {}, {});
}

std::string node_text(const OnnxFile& file, int64_t index) {
  if (index < 0 || index >= std::ssize(file.nodes)) return fmt::format("node {}", index);
  const OnnxNode& node = file.nodes[static_cast<size_t>(index)];
  return fmt::format("node {} ({} '{}')", index, node.type, node.name);
}

}  // namespace twofour::tensorrt
