#include <limits>

#include "twofour/base/error.h"
#include "twofour/export/graph_converter.h"

namespace twofour {

std::string GraphConverter::pool(const Op& op) {
  const ValueId value = op.inputs[0];
  std::string x = rows_[value];
  int64_t axis = 1;  // that of tokens
  if (x.empty()) {
    x = node(op, "Squeeze", "Squeeze", {channels(value), graph_.indices({3})});
    axis = 2;
  }
  if (options_.half) x = as_float(x, op.name + "/Widened");
  switch (op.pooling) {
    case Pooling::kCls:
      return first(op, x, axis);
    case Pooling::kMean:
      return mean(op, x, axis);
    case Pooling::kMax:
      return maximum(op, x, axis);
  }
  throw Error(op.name, "unknown pooling");
}

std::string GraphConverter::first(const Op& op, const std::string& x, int64_t axis) {
  if (axis == 1) {
    return node(op, "First", "Gather", {x, graph_.index(0)}, {{"axis", axis}});
  }
  // OpenVINO (2026.4.1) moves a Gather by a scalar above the LayerNorm of channels, whose
  // parameters then have the wrong rank.
  const std::string slice = node(
      op, "Slice", "Slice", {x, graph_.indices({0}), graph_.indices({1}), graph_.indices({axis})});
  return node(op, "First", "Squeeze", {slice, graph_.indices({axis})});
}

std::string GraphConverter::mean(const Op& op, const std::string& x, int64_t axis) {
  const std::string wide =
      node(op, "Unsqueeze", "Unsqueeze", {kAttentionMask, graph_.indices({3 - axis})});
  const std::string mask = as_float(wide, op.name + "/Cast");
  const std::string masked = node(op, "Masked", "Mul", {x, mask});
  const std::vector<OnnxAttribute> drop{{"keepdims", int64_t{0}}};
  const std::string sum = node(op, "Sum", "ReduceSum", {masked, graph_.indices({axis})}, drop);
  const std::string count = node(op, "Count", "ReduceSum", {mask, graph_.indices({axis})}, drop);
  const std::string safe = node(op, "AtLeastOne", "Max", {count, graph_.scalar(1)});
  return node(op, "Mean", "Div", {sum, safe});
}

std::string GraphConverter::maximum(const Op& op, const std::string& x, int64_t axis) {
  const std::string wide =
      node(op, "Unsqueeze", "Unsqueeze", {kAttentionMask, graph_.indices({3 - axis})});
  const std::string mask =
      node(op, "Cast", "Cast", {wide}, {{"to", int64_t{onnx::TensorProto::BOOL}}});
  const std::string lowest = graph_.scalar(std::numeric_limits<float>::lowest());
  const std::string masked = node(op, "Masked", "Where", {mask, x, lowest});
  if (options_.opset < 18) {  // axes became an input
    return node(op, "Max", "ReduceMax", {masked},
                {{"axes", std::vector<int64_t>{axis}}, {"keepdims", int64_t{0}}});
  }
  return node(op, "Max", "ReduceMax", {masked, graph_.indices({axis})}, {{"keepdims", int64_t{0}}});
}

// x / max(|x|, 1e-12)
std::string GraphConverter::normalize(const Op& op) {
  const std::string& x = input(op);
  const std::string squares = node(op, "Squares", "Mul", {x, x});
  const std::string sum = node(op, "Sum", "ReduceSum", {squares, graph_.indices({-1})});
  const std::string norm = node(op, "Norm", "Sqrt", {sum});
  const std::string safe = node(op, "NotZero", "Max", {norm, graph_.scalar(1e-12f)});
  return node(op, "Unit", "Div", {x, safe});
}

}  // namespace twofour
