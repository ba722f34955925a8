#include "twofour/export/graph_converter.h"

namespace twofour {

const std::string& GraphConverter::input(const Op& op, size_t index) {
  const ValueId value = op.inputs[index];
  return output_layout(op) == Layout::kChannels ? channels(value) : rows(value);
}

const std::string& GraphConverter::rows(ValueId value) {
  std::string& name = rows_[value];
  if (!name.empty()) return name;
  const std::string& wide = channels_[value];
  const std::string flat = graph_.node("Squeeze", wide + "/Squeeze", {wide, graph_.indices({3})});
  return name = graph_.node("Transpose", wide + "/ToRows", {flat},
                            {{"perm", std::vector<int64_t>{0, 2, 1}}});
}

const std::string& GraphConverter::channels(ValueId value) {
  std::string& name = channels_[value];
  if (!name.empty()) return name;
  const std::string& flat = rows_[value];
  const std::string turned = graph_.node("Transpose", flat + "/ToChannels", {flat},
                                         {{"perm", std::vector<int64_t>{0, 2, 1}}});
  return name = graph_.node("Unsqueeze", flat + "/Unsqueeze", {turned, graph_.indices({3})});
}

// LayerNormalization of ONNX reaches from its axis to the last one, which is not that of channels.
std::string GraphConverter::channel_layer_norm(const Op& op) {
  const std::string x = widened(op, "Widened", input(op));
  const std::string centered = node(op, "Centered", "Sub", {x, channel_mean(op, "Mean", x)});
  const std::string squares = node(op, "Squares", "Mul", {centered, centered});
  const std::string variance = channel_mean(op, "Variance", squares);
  const std::string epsilon = graph_.scalar(static_cast<float>(op.epsilon));
  const std::string safe = node(op, "NotZero", "Add", {variance, epsilon});
  const std::string deviation = node(op, "Deviation", "Sqrt", {safe});
  const std::string unit = node(op, "Unit", "Div", {centered, deviation});
  const std::string scaled = node(op, "Scaled", "Mul", {unit, channel_parameter(op, 0)});
  const std::string y = node(op, "Shifted", "Add", {scaled, channel_parameter(op, 1)});
  return narrowed(op, "Narrowed", y);
}

std::string GraphConverter::channel_mean(const Op& op, const std::string& suffix,
                                         const std::string& x) {
  if (options_.opset < 18) {  // axes became an input
    return node(op, suffix, "ReduceMean", {x}, {{"axes", std::vector<int64_t>{1}}});
  }
  return node(op, suffix, "ReduceMean", {x, graph_.indices({1})});
}

}  // namespace twofour
