#include "twofour/export/graph_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "twofour/base/dtype.h"
#include "twofour/base/error.h"

namespace twofour {
namespace {

template <class T>
std::string bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

onnx::TensorProto tensor(const std::string& name, int32_t type, const std::vector<int64_t>& dims,
                         std::string bytes) {
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (int64_t dim : dims) tensor.add_dims(dim);
  tensor.set_raw_data(std::move(bytes));
  return tensor;
}

struct SetAttribute {
  onnx::AttributeProto& attribute;

  void operator()(int64_t value) const {
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(value);
  }
  void operator()(float value) const {
    attribute.set_type(onnx::AttributeProto::FLOAT);
    attribute.set_f(value);
  }
  void operator()(const std::string& value) const {
    attribute.set_type(onnx::AttributeProto::STRING);
    attribute.set_s(value);
  }
  void operator()(const std::vector<int64_t>& values) const {
    attribute.set_type(onnx::AttributeProto::INTS);
    for (int64_t value : values) attribute.add_ints(value);
  }
  void operator()(const onnx::TensorProto& value) const {
    attribute.set_type(onnx::AttributeProto::TENSOR);
    *attribute.mutable_t() = value;
  }
};

}  // namespace

std::string OnnxGraphBuilder::node(const std::string& type, const std::string& name,
                                   const std::vector<std::string>& inputs,
                                   const std::vector<OnnxAttribute>& attributes) {
  return node_to(name, type, name, inputs, attributes);
}

std::string OnnxGraphBuilder::node_to(const std::string& output, const std::string& type,
                                      const std::string& name,
                                      const std::vector<std::string>& inputs,
                                      const std::vector<OnnxAttribute>& attributes) {
  onnx::NodeProto& node = *graph_.add_node();
  node.set_op_type(type);
  node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  for (const OnnxAttribute& attribute : attributes) {
    onnx::AttributeProto& added = *node.add_attribute();
    added.set_name(attribute.name);
    std::visit(SetAttribute{added}, attribute.value);
  }
  return output;
}

std::string OnnxGraphBuilder::custom_node(const std::string& domain, const std::string& type,
                                          const std::string& name,
                                          const std::vector<std::string>& inputs,
                                          const std::vector<OnnxAttribute>& attributes) {
  node(type, name, inputs, attributes);
  graph_.mutable_node(graph_.node_size() - 1)->set_domain(domain);
  return name;
}

std::string OnnxGraphBuilder::floats(const std::string& name, const std::vector<int64_t>& dims,
                                     std::span<const float> values) {
  return add(float_tensor(name, dims, values));
}

std::string OnnxGraphBuilder::halves(const std::string& name, const std::vector<int64_t>& dims,
                                     std::span<const float> values) {
  return add(half_tensor(name, dims, values));
}

std::string OnnxGraphBuilder::int8s(const std::string& name, const std::vector<int64_t>& dims,
                                    std::span<const int8_t> values) {
  return add(int8_tensor(name, dims, values));
}

onnx::TensorProto OnnxGraphBuilder::float_tensor(const std::string& name,
                                                 const std::vector<int64_t>& dims,
                                                 std::span<const float> values) {
  return tensor(name, onnx::TensorProto::FLOAT, dims, bytes_of(values));
}

onnx::TensorProto OnnxGraphBuilder::half_tensor(const std::string& name,
                                                const std::vector<int64_t>& dims,
                                                std::span<const float> values) {
  std::vector<uint16_t> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    narrow[i] = f32_to_f16(values[i]);
    if (std::isinf(f16_to_f32(narrow[i]))) {
      throw Error(name, fmt::format("element {} is {}: beyond the range of fp16", i, values[i]));
    }
  }
  return tensor(name, onnx::TensorProto::FLOAT16, dims,
                bytes_of(std::span<const uint16_t>(narrow)));
}

onnx::TensorProto OnnxGraphBuilder::int8_tensor(const std::string& name,
                                                const std::vector<int64_t>& dims,
                                                std::span<const int8_t> values) {
  return tensor(name, onnx::TensorProto::INT8, dims, bytes_of(values));
}

std::string OnnxGraphBuilder::scalar(float value) {
  return shared(fmt::format("constant/f32/{}", value), onnx::TensorProto::FLOAT, {},
                bytes_of(std::span<const float>(&value, 1)));
}

std::string OnnxGraphBuilder::half(float value) {
  const uint16_t narrow = f32_to_f16(value);
  return shared(fmt::format("constant/f16/{}", value), onnx::TensorProto::FLOAT16, {},
                bytes_of(std::span<const uint16_t>(&narrow, 1)));
}

std::string OnnxGraphBuilder::int8(int8_t value) {
  return shared(fmt::format("constant/i8/{}", value), onnx::TensorProto::INT8, {},
                bytes_of(std::span<const int8_t>(&value, 1)));
}

std::string OnnxGraphBuilder::uint8(uint8_t value) {
  return shared(fmt::format("constant/u8/{}", value), onnx::TensorProto::UINT8, {},
                bytes_of(std::span<const uint8_t>(&value, 1)));
}

std::string OnnxGraphBuilder::index(int64_t value) {
  return shared(fmt::format("constant/i64/{}", value), onnx::TensorProto::INT64, {},
                bytes_of(std::span<const int64_t>(&value, 1)));
}

std::string OnnxGraphBuilder::indices(const std::vector<int64_t>& values) {
  return shared(fmt::format("constant/i64/[{}]", fmt::join(values, ",")), onnx::TensorProto::INT64,
                {static_cast<int64_t>(values.size())}, bytes_of(std::span<const int64_t>(values)));
}

void OnnxGraphBuilder::describe(onnx::ValueInfoProto& info, const std::string& name, int32_t type,
                                const std::vector<int64_t>& dims) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  for (int64_t dim : dims) {
    auto& added = *tensor.mutable_shape()->add_dim();
    if (dim >= 0) {
      added.set_dim_value(dim);
    } else {
      added.set_dim_param(dim == kBatch ? "batch" : "sequence");
    }
  }
}

std::string OnnxGraphBuilder::add(onnx::TensorProto tensor) {
  std::string name = tensor.name();
  *graph_.add_initializer() = std::move(tensor);
  return name;
}

std::string OnnxGraphBuilder::shared(const std::string& name, int32_t type,
                                     const std::vector<int64_t>& dims, std::string bytes) {
  if (constants_.insert(name).second) add(tensor(name, type, dims, std::move(bytes)));
  return name;
}

}  // namespace twofour
