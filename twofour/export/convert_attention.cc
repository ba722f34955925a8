#include <cmath>

#include "twofour/export/graph_converter.h"

namespace twofour {
namespace {

// Added to the scores of padding. Softmax then gives exactly 0 in f32, and f16 can hold it.
constexpr float kMasked = -10000;

}  // namespace

std::string GraphConverter::attention(const Op& op) {
  if (output_layout(op) == Layout::kChannels) return channel_attention(op);
  const std::string q = split_heads(op, 0, "Query", {0, 2, 1, 3});
  const std::string k = split_heads(op, 1, "Key", {0, 2, 3, 1});
  const std::string v = split_heads(op, 2, "Value", {0, 2, 1, 3});
  const std::string product = node(op, "Scores", "MatMul", {q, k});
  const std::string weights = attention_weights(op, product, -1);
  const std::string context = node(op, "Context", "MatMul", {weights, v});
  const std::string rows =
      node(op, "Transpose", "Transpose", {context}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  return node(op, "Merge", "Reshape", {rows, graph_.indices({0, 0, op.heads * op.head_dim})});
}

// Channels hold the heads one after the other, so splitting and merging them moves nothing. Scores
// stand as [key, query]: then the keys alone need a transpose (MatMul sums over the last dimension
// of its first operand, which of channels is that of tokens), and the context comes out as
// channels.
std::string GraphConverter::channel_attention(const Op& op) {
  const std::string q = split_channels(op, 0, "Query");
  const std::string k = split_channels(op, 1, "Key");
  const std::string v = split_channels(op, 2, "Value");
  const std::string turned =
      node(op, "Key/Transpose", "Transpose", {k}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  const std::string product = node(op, "Scores", "MatMul", {turned, q});
  const std::string weights = attention_weights(op, product, 2);
  const std::string context = node(op, "Context", "MatMul", {v, weights});
  return node(op, "Merge", "Reshape",
              {context, graph_.indices({0, op.heads * op.head_dim, -1, 1})});
}

// [batch, sequence, heads * dim] -> [batch, heads, sequence, dim], or [.., dim, sequence] for keys.
std::string GraphConverter::split_heads(const Op& op, size_t index, const std::string& what,
                                        std::vector<int64_t> permutation) {
  const std::string split = node(op, what + "/Reshape", "Reshape",
                                 {input(op, index), graph_.indices({0, 0, op.heads, op.head_dim})});
  return node(op, what + "/Transpose", "Transpose", {split}, {{"perm", std::move(permutation)}});
}

// [batch, heads * dim, sequence, 1] -> [batch, heads, dim, sequence].
std::string GraphConverter::split_channels(const Op& op, size_t index, const std::string& what) {
  return node(op, what + "/Reshape", "Reshape",
              {input(op, index), graph_.indices({0, op.heads, op.head_dim, -1})});
}

std::string GraphConverter::attention_weights(const Op& op, const std::string& product,
                                              int64_t axis) {
  const auto root = static_cast<float>(std::sqrt(static_cast<double>(op.head_dim)));
  const std::string scores = node(op, "Scale", "Div", {product, scalar(op, root)});
  const std::string masked =
      node(op, "Mask", "Add", {widened(op, "Widened", scores), additive_mask(output_layout(op))});
  const std::string weights = node(op, "Softmax", "Softmax", {masked}, {{"axis", axis}});
  return narrowed(op, "Narrowed", weights);
}

// 0 for tokens, kMasked for padding: [batch, 1, 1, sequence], of channels [batch, 1, sequence, 1].
// A network's attention is all in one layout.
std::string GraphConverter::additive_mask(Layout layout) {
  if (!additive_mask_.empty()) return additive_mask_;
  const std::vector<int64_t> axes =
      layout == Layout::kChannels ? std::vector<int64_t>{1, 3} : std::vector<int64_t>{1, 2};
  const std::string wide =
      graph_.node("Unsqueeze", "mask/Unsqueeze", {kAttentionMask, graph_.indices(axes)});
  const std::string ones = as_float(wide, "mask/Cast");
  const std::string padding = graph_.node("Sub", "mask/Padding", {graph_.scalar(1), ones});
  additive_mask_ = graph_.node("Mul", "mask/Additive", {padding, graph_.scalar(kMasked)});
  return additive_mask_;
}

std::string GraphConverter::as_float(const std::string& x, const std::string& name) {
  return graph_.node("Cast", name, {x}, {{"to", int64_t{onnx::TensorProto::FLOAT}}});
}

}  // namespace twofour
