#include "twofour/export/written_layers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <map>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr int64_t kGroup = 4;

struct Weight {
  const onnx::TensorProto* tensor = nullptr;
  LayerForm form = LayerForm::kMatMul;
};
using Weights = std::map<std::string, Weight>;

struct Counts {
  int64_t zeros = 0, groups = 0, groups_2_4 = 0;
  int64_t first_row = -1, first_col = -1;
};

// Element (i, j) of the [n, k] matrix is at i * row + j * step.
struct Strides {
  int64_t row, step;
};

DType dtype_of(const onnx::TensorProto& tensor) {
  if (tensor.data_type() == onnx::TensorProto::INT8) return DType::kI8;
  if (tensor.data_type() == onnx::TensorProto::FLOAT16) return DType::kF16;
  if (tensor.data_type() == onnx::TensorProto::FLOAT) return DType::kF32;
  throw Error(tensor.name(), fmt::format("ONNX type {} is not one of a weight's",
                                         static_cast<int>(tensor.data_type())));
}

std::vector<int64_t> expected_dims(LayerForm form, int64_t n, int64_t k) {
  if (form == LayerForm::kMatMul) return {k, n};
  return form == LayerForm::kPlugin ? std::vector{n, k} : std::vector<int64_t>{n, k, 1, 1};
}

Strides strides_of(const onnx::TensorProto& tensor, const WrittenLayer& layer) {
  const std::vector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  const std::vector<int64_t> expected = expected_dims(layer.form, layer.n, layer.k);
  const auto bytes = static_cast<size_t>(layer.n * layer.k) * dtype_bytes(layer.dtype);
  if (tensor.raw_data().size() != bytes || dims != expected) {
    throw Error(tensor.name(), fmt::format("expected {} values, [{}]", layer.n * layer.k,
                                           fmt::join(expected, ", ")));
  }
  return layer.form == LayerForm::kMatMul ? Strides{1, layer.n} : Strides{layer.k, 1};
}

bool is_zero(int8_t value) { return value == 0; }
bool is_zero(float value) { return value == 0; }
bool is_zero(uint16_t half) { return (half & 0x7fff) == 0; }

template <class T>
Counts count(const std::string& bytes, int64_t n, int64_t k, Strides strides) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  Counts counts;
  const auto count_group = [&](int64_t row, int64_t col, int64_t nonzero) {
    ++counts.groups;
    if (nonzero <= 2) {
      ++counts.groups_2_4;
    } else if (counts.first_row < 0) {
      counts.first_row = row;
      counts.first_col = col;
    }
  };
  for (int64_t i = 0; i < n; ++i) {
    int64_t nonzero = 0;
    for (int64_t j = 0; j < k; ++j) {
      if (j % kGroup == 0) nonzero = 0;
      const bool zero = is_zero(values[i * strides.row + j * strides.step]);
      counts.zeros += zero;
      nonzero += !zero;
      if (k % kGroup == 0 && j % kGroup == kGroup - 1) count_group(i, j - kGroup + 1, nonzero);
    }
  }
  return counts;
}

Counts count(const onnx::TensorProto& tensor, const WrittenLayer& layer, Strides strides) {
  const std::string& bytes = tensor.raw_data();
  switch (layer.dtype) {
    case DType::kI8:
      return count<int8_t>(bytes, layer.n, layer.k, strides);
    case DType::kF16:
      return count<uint16_t>(bytes, layer.n, layer.k, strides);
    default:
      return count<float>(bytes, layer.n, layer.k, strides);
  }
}

std::string why_not_2_4(const WrittenLayer& layer) {
  if (layer.k % kGroup != 0) {
    return fmt::format("k = {} is not a multiple of {}", layer.k, kGroup);
  }
  if (layer.groups == layer.groups_2_4) return {};
  return fmt::format(
      "{} of {} groups of four have more than two non-zero values, the first at [{}, {}]",
      layer.groups - layer.groups_2_4, layer.groups, layer.first_row, layer.first_col);
}

std::string why_dense(const Network& network, const Op& op, const WrittenLayer& layer) {
  const std::string fixed = why_not_prunable(network, op);
  return fixed.empty() ? why_not_2_4(layer) : fixed;
}

// For 16-bit weights half the elements of int8's fill the same bytes.
std::vector<Eligibility> engines_by_shape(const WrittenLayer& layer) {
  const int64_t scale = layer.dtype == DType::kF16 ? 2 : 1;
  std::vector<Eligibility> engines = sparse_int8_engines(scale * layer.n, scale * layer.k);
  if (scale == 1) return engines;
  for (Eligibility& engine : engines) {
    if (engine.reason.empty()) continue;
    const int64_t multiple = engine.engine == "cusparselt" ? 16 : 8;
    engine.reason =
        fmt::format("n = {} and k = {} are not both multiples of {}", layer.n, layer.k, multiple);
  }
  return engines;
}

std::vector<Eligibility> gpu_engines(const WrittenLayer& layer, const std::string& dense) {
  std::vector<Eligibility> engines;
  for (Eligibility& engine : engines_by_shape(layer)) {
    if (engine.engine == "cpu") continue;
    if (layer.dtype == DType::kF32) {
      engine.reason = "F32: sparse tensor cores multiply 16-bit and 8-bit types as 2:4";
    }
    if (!dense.empty()) engine.reason = dense;
    engines.push_back(std::move(engine));
  }
  return engines;
}

Weights weights_of(const onnx::GraphProto& graph) {
  Weights weights;
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    weights[tensor.name()] = {
        &tensor, tensor.dims_size() == 4 ? LayerForm::kConvolution : LayerForm::kMatMul};
  }
  for (const onnx::NodeProto& node : graph.node()) {
    if (node.op_type() != spmm_node::kType) continue;
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.name() == spmm_node::kWeight)
        weights[attribute.t().name()] = {&attribute.t(), LayerForm::kPlugin};
    }
  }
  return weights;
}

}  // namespace

WrittenLayer written_layer(const Network& network, const Op& op, const onnx::TensorProto& weight,
                           LayerForm form) {
  const Parameter& parameter = network.parameter(op, 0);
  WrittenLayer layer;
  layer.name = op.name;
  layer.n = parameter.shape[0];
  layer.k = parameter.shape[1];
  layer.dtype = dtype_of(weight);
  layer.form = form;
  const Counts counts = count(weight, layer, strides_of(weight, layer));
  layer.zeros = counts.zeros;
  layer.groups = counts.groups;
  layer.groups_2_4 = counts.groups_2_4;
  layer.first_row = counts.first_row;
  layer.first_col = counts.first_col;
  const std::string dense = why_dense(network, op, layer);
  layer.sparse = dense.empty();
  layer.engines = gpu_engines(layer, dense);
  return layer;
}

std::string refusal(const WrittenLayer& layer, std::string_view engine) {
  for (const Eligibility& e : layer.engines) {
    if (e.engine == engine) return e.reason;
  }
  throw Error("export", fmt::format("'{}' is no engine of the report", engine));
}

std::vector<WrittenLayer> written_layers(const Network& network, const onnx::GraphProto& graph) {
  const Weights weights = weights_of(graph);
  std::vector<WrittenLayer> layers;
  for (const Op& op : network.ops) {
    if (op.kind != OpKind::kLinear) continue;
    const std::string& name = network.parameter(op, 0).name;
    const auto found = weights.find(name);
    if (found == weights.end()) throw Error(name, "is not in the graph");
    layers.push_back(written_layer(network, op, *found->second.tensor, found->second.form));
  }
  return layers;
}

}  // namespace twofour
