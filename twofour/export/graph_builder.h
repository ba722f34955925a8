// Appends nodes and initializers to an ONNX graph.
#pragma once

#include <onnx/onnx.pb.h>

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace twofour {

struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, float, std::string, std::vector<int64_t>, onnx::TensorProto> value;
};

class OnnxGraphBuilder {
 public:
  explicit OnnxGraphBuilder(onnx::GraphProto& graph) : graph_(graph) {}

  // The one output takes the node's name. Returns it.
  std::string node(const std::string& type, const std::string& name,
                   const std::vector<std::string>& inputs,
                   const std::vector<OnnxAttribute>& attributes = {});

  // The output takes the name `output` instead.
  std::string node_to(const std::string& output, const std::string& type, const std::string& name,
                      const std::vector<std::string>& inputs,
                      const std::vector<OnnxAttribute>& attributes = {});

  // Like node(), of an operator set that is not ONNX's own.
  std::string custom_node(const std::string& domain, const std::string& type,
                          const std::string& name, const std::vector<std::string>& inputs,
                          const std::vector<OnnxAttribute>& attributes);

  // Each returns `name`.
  std::string floats(const std::string& name, const std::vector<int64_t>& dims,
                     std::span<const float> values);
  // As fp16. Throws Error(name) for a value beyond its range.
  std::string halves(const std::string& name, const std::vector<int64_t>& dims,
                     std::span<const float> values);
  std::string int8s(const std::string& name, const std::vector<int64_t>& dims,
                    std::span<const int8_t> values);

  // The same tensors, outside the graph.
  static onnx::TensorProto float_tensor(const std::string& name, const std::vector<int64_t>& dims,
                                        std::span<const float> values);
  static onnx::TensorProto half_tensor(const std::string& name, const std::vector<int64_t>& dims,
                                       std::span<const float> values);
  static onnx::TensorProto int8_tensor(const std::string& name, const std::vector<int64_t>& dims,
                                       std::span<const int8_t> values);

  // Small constants, shared by all that ask for the same value.
  std::string scalar(float value);
  std::string half(float value);  // rounded to fp16
  std::string int8(int8_t value);
  std::string uint8(uint8_t value);
  std::string index(int64_t value);                         // a scalar
  std::string indices(const std::vector<int64_t>& values);  // a vector

  // A negative dimension is kBatch or kSequence.
  static constexpr int64_t kBatch = -1, kSequence = -2;
  static void describe(onnx::ValueInfoProto& info, const std::string& name, int32_t type,
                       const std::vector<int64_t>& dims);

 private:
  std::string add(onnx::TensorProto tensor);
  // Adds the initializer `name` unless it is there.
  std::string shared(const std::string& name, int32_t type, const std::vector<int64_t>& dims,
                     std::string bytes);

  onnx::GraphProto& graph_;
  std::set<std::string> constants_;
};

}  // namespace twofour
