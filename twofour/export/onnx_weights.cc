#include "twofour/export/onnx_weights.h"

#include <fmt/format.h>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/export/onnx_tensor.h"
#include "twofour/graph/spmm_node.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;

// Of nodes between a product and its tensors: DequantizeLinear has three inputs, so that a bound on
// the length of a chain alone would leave 3^length.
constexpr int kMostVisits = 64;

struct Constant {
  std::string name, type;
  Shape shape;
  Tensor values;          // F32; of quantized ones the integers, zero point taken off
  std::string uncounted;  // why there are no values
};

// How a tensor is quantized, as a whole or along an axis.
struct Grid {
  std::vector<float> scales{1}, zero_points{0};
  bool is_signed = false;
  int64_t axis = 0;
};

const onnx::AttributeProto* find(const onnx::NodeProto& node, std::string_view name) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

int64_t integer_or(const onnx::NodeProto& node, std::string_view name, int64_t fallback) {
  const onnx::AttributeProto* attribute = find(node, name);
  return attribute == nullptr ? fallback : attribute->i();
}

bool has_input(const onnx::NodeProto& node, int index) {
  return index < node.input_size() && !node.input(index).empty();
}

bool is_standard(const onnx::NodeProto& node) {
  return node.domain().empty() || node.domain() == "ai.onnx";
}

Tensor transposed(const Tensor& matrix) {
  const int64_t rows = matrix.shape()[0], cols = matrix.shape()[1];
  Tensor out(DType::kF32, {cols, rows});
  const auto from = matrix.as<float>();
  const auto to = out.as<float>();
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) to[j * rows + i] = from[i * cols + j];
  }
  return out;
}

std::vector<float> floats(const Tensor& tensor) {
  const auto values = tensor.as<float>();
  return {values.begin(), values.end()};
}

// One for the whole, or one for each place along the axis.
bool fits(const std::vector<float>& parameters, const Shape& shape, int64_t axis) {
  if (parameters.size() == 1) return true;
  return axis >= 0 && axis < std::ssize(shape.dims()) &&
         std::ssize(parameters) == shape[static_cast<size_t>(axis)];
}

// change(value, scale, zero point) of every value.
template <class Change>
void change_values(Constant& constant, const Grid& grid, Change change) {
  int64_t inner = 1;  // for an axis that is none, all parameters are of the whole
  const std::vector<int64_t>& dims = constant.shape.dims();
  for (int64_t i = std::ssize(dims) - 1; i > std::max<int64_t>(grid.axis, 0); --i) inner *= dims[i];
  const auto at = [&](const std::vector<float>& parameters, int64_t i) {
    return parameters[parameters.size() == 1 ? 0 : i / inner % std::ssize(parameters)];
  };
  const auto values = constant.values.as<float>();
  for (int64_t i = 0; i < std::ssize(values); ++i)
    values[i] = change(values[i], at(grid.scales, i), at(grid.zero_points, i));
}

class Graph {
 public:
  Graph(const onnx::GraphProto& graph, const fs::path& path) : graph_(graph), path_(path) {
    for (const onnx::TensorProto& tensor : graph.initializer()) tensors_[tensor.name()] = &tensor;
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& output : node.output()) producers_[output] = &node;
    }
  }

  std::vector<WeightReport> reports() {
    for (const onnx::NodeProto& node : graph_.node()) {
      const std::string& type = node.op_type();
      if (type == spmm_node::kType) {
        add_plugin(node);
      } else if (!is_standard(node) || node.input_size() < 2) {
        continue;
      } else if (type == "Conv") {
        add(node, constant(node.input(1)), false);
      } else if (type == "Gemm") {
        add(node, constant(node.input(1)), integer_or(node, "transB", 0) == 0);
      } else if (type == "MatMul") {
        add_matmul(node);
      }
    }
    return std::move(reports_);
  }

 private:
  // Groups of four lie along what is summed up: the rows of a constant on the left.
  void add_matmul(const onnx::NodeProto& node) {
    if (auto right = constant(node.input(1))) return add(node, right, true);
    add(node, constant(node.input(0)), false);
  }

  void add_plugin(const onnx::NodeProto& node) {
    if (const auto* weight = find(node, spmm_node::kWeight))
      add(node, read(weight->t().name(), weight->t()), false);
  }

  void add(const onnx::NodeProto& node, const std::optional<Constant>& weight, bool transpose) {
    if (!weight || !seen_.emplace(weight->name, node.op_type()).second) return;
    WeightReport report = counted(node, *weight, transpose);
    report.name = weight->name;
    report.op = node.op_type();
    report.type = weight->type;
    report.shape = weight->shape;
    reports_.push_back(std::move(report));
  }

  static WeightReport counted(const onnx::NodeProto& node, const Constant& weight, bool transpose) {
    constexpr auto kLayout = ConvLayout::kChannelsFirst;
    WeightReport report;
    report.dense = weight.uncounted;
    if (!report.dense.empty()) return report;
    if (node.op_type() == "Conv") {
      return report_weight(weight.name, weight.values, kLayout, integer_or(node, "group", 1));
    }
    report.dense = weight.shape.to_string() + " is no matrix";
    if (weight.shape.rank() != 2) return report;
    return transpose ? report_weight(weight.name, transposed(weight.values), kLayout, 1)
                     : report_weight(weight.name, weight.values, kLayout, 1);
  }

  Constant read(const std::string& name, const onnx::TensorProto& tensor) const {
    Constant constant;
    constant.name = name;
    constant.shape = Shape(std::vector<int64_t>(tensor.dims().begin(), tensor.dims().end()));
    const std::optional<DType> dtype = tensor_type(tensor);
    constant.type =
        dtype ? std::string(dtype_name(*dtype)) : fmt::format("ONNX type {}", tensor.data_type());
    if (dtype) {
      constant.values = tensor_values(tensor, path_);
    } else {
      constant.uncounted = "values of this type are not counted";
    }
    return constant;
  }

  const onnx::NodeProto* producer(const std::string& value, std::string_view type) const {
    const auto found = producers_.find(value);
    return found != producers_.end() && found->second->op_type() == type ? found->second : nullptr;
  }

  // Nothing where the value depends on the network's inputs.
  std::optional<Constant> constant(const std::string& name) const {
    int visits = kMostVisits;
    return constant(name, visits);
  }

  std::optional<Constant> constant(const std::string& name, int& visits) const {
    if (visits-- <= 0) return std::nullopt;
    if (const auto tensor = tensors_.find(name); tensor != tensors_.end())
      return read(name, *tensor->second);
    const auto found = producers_.find(name);
    if (found == producers_.end()) return std::nullopt;
    const onnx::NodeProto& node = *found->second;
    const std::string& type = node.op_type();
    if (type == "Constant") {
      const onnx::AttributeProto* value = find(node, "value");
      return value == nullptr ? std::nullopt : std::optional(read(name, value->t()));
    }
    if (!is_standard(node) || !has_input(node, 0)) return std::nullopt;
    if (type == "Identity" || type == "Cast") return constant(node.input(0), visits);
    if (type == "Transpose") return turned(node, visits);
    if (type == "DequantizeLinear") return dequantized(node, visits);
    return std::nullopt;
  }

  // Of matrices alone.
  std::optional<Constant> turned(const onnx::NodeProto& node, int& visits) const {
    std::optional<Constant> matrix = constant(node.input(0), visits);
    const onnx::AttributeProto* order = find(node, "perm");
    const bool turns = order == nullptr || (order->ints_size() == 2 && order->ints(0) == 1);
    if (!matrix || matrix->shape.rank() != 2 || !turns) return std::nullopt;
    matrix->shape = Shape{matrix->shape[1], matrix->shape[0]};
    if (matrix->uncounted.empty()) matrix->values = transposed(matrix->values);
    return matrix;
  }

  // Integers of the file, or floats that QuantizeLinear would make integers when the network runs.
  std::optional<Constant> dequantized(const onnx::NodeProto& node, int& visits) const {
    const onnx::NodeProto* quantizer = producer(node.input(0), "QuantizeLinear");
    const onnx::NodeProto& source = quantizer == nullptr ? node : *quantizer;
    if (!has_input(source, 0) || !has_input(source, 1)) return std::nullopt;
    std::optional<Constant> weight = constant(source.input(0), visits);
    if (!weight || !weight->uncounted.empty()) return weight;
    const std::optional<Grid> grid = grid_of(source, weight->shape, visits);
    if (!grid) {
      weight->uncounted = "its scales or zero points are neither of the whole nor of an axis";
    } else if (quantizer == nullptr) {
      change_values(*weight, *grid, [](float value, float, float zero) { return value - zero; });
    } else {
      quantize(*weight, *grid);
    }
    return weight;
  }

  std::optional<Grid> grid_of(const onnx::NodeProto& node, const Shape& shape, int& visits) const {
    if (integer_or(node, "block_size", 0) != 0) return std::nullopt;
    Grid grid;
    grid.axis = integer_or(node, "axis", 1);
    if (grid.axis < 0) grid.axis += std::ssize(shape.dims());
    const std::optional<Constant> scale = constant(node.input(1), visits);
    if (!scale || !scale->uncounted.empty()) return std::nullopt;
    grid.scales = floats(scale->values);
    grid.is_signed = integer_or(node, "output_dtype", 0) == onnx::TensorProto::INT8;
    if (has_input(node, 2)) {
      const std::optional<Constant> zero = constant(node.input(2), visits);
      if (!zero || !zero->uncounted.empty()) return std::nullopt;
      grid.zero_points = floats(zero->values);
      grid.is_signed = zero->type == dtype_name(DType::kI8);
    }
    for (const std::vector<float>& parameters : {grid.scales, grid.zero_points}) {
      if (!fits(parameters, shape, grid.axis)) return std::nullopt;
    }
    return grid;
  }

  static void quantize(Constant& weight, const Grid& grid) {
    const float least = grid.is_signed ? -128 : 0, most = grid.is_signed ? 127 : 255;
    change_values(weight, grid, [=](float value, float scale, float zero) {
      return std::clamp(std::nearbyint(value / scale) + zero, least, most) - zero;
    });
    weight.type = dtype_name(grid.is_signed ? DType::kI8 : DType::kU8);
  }

  const onnx::GraphProto& graph_;
  const fs::path& path_;
  std::map<std::string, const onnx::TensorProto*> tensors_;
  std::map<std::string, const onnx::NodeProto*> producers_;
  std::set<std::pair<std::string, std::string>> seen_;  // weight, type of its node
  std::vector<WeightReport> reports_;
};

}  // namespace

onnx::ModelProto read_onnx_model(const fs::path& path) {
  onnx::ModelProto model;
  if (!model.ParseFromString(read_file(path)) || !model.has_graph()) {
    throw Error(path.string(), "is no ONNX model, or it is damaged", "Export it again");
  }
  return model;
}

std::vector<WeightReport> inspect_onnx(const onnx::ModelProto& model, const fs::path& path) {
  return Graph(model.graph(), path).reports();
}

std::vector<WeightReport> inspect_onnx(const fs::path& path) {
  return inspect_onnx(read_onnx_model(path), path);
}

}  // namespace twofour
