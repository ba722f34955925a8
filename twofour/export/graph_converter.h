// One conversion of a network to an ONNX graph. Private to export/.
//
// A value of the network stands in one of two layouts, or in both:
//   rows      [batch, sequence, width], what MatMul multiplies; [batch, width] after pooling
//   channels  [batch, width, sequence, 1], what a 1x1 convolution reads
// Without ExportOptions::gemm_as_conv there are rows alone. With it the encoder's linear layers
// bring channels in, and everything between them stays there.
#pragma once

#include <onnx/onnx.pb.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "twofour/export/converter.h"
#include "twofour/export/graph_builder.h"
#include "twofour/export/quantization.h"

namespace twofour {

enum class Layout { kRows, kChannels };

class GraphConverter {
 public:
  GraphConverter(const ModelDirectory& model, const Network& network, const ExportOptions& options,
                 onnx::GraphProto& graph, ExportSummary& summary);

  // Throws Error for an operation that ONNX here does not know.
  void convert();

 private:
  using Names = std::vector<std::string>;

  // graph_converter.cc
  std::string convert(const Op& op);
  Layout output_layout(const Op& op) const;
  std::string node(const Op& op, const std::string& suffix, const std::string& type,
                   const Names& inputs, const std::vector<OnnxAttribute>& attributes = {});
  // Of tokens, everything is fp16 with ExportOptions::half, save LayerNorm and softmax.
  bool half(const Op& op) const;
  std::string scalar(const Op& op, float value);
  // `x` of a half operation as f32, and back; unchanged in others.
  std::string widened(const Op& op, const std::string& suffix, const std::string& x);
  std::string narrowed(const Op& op, const std::string& suffix, const std::string& x);
  std::string embedding(const Op& op);
  std::string layer_norm(const Op& op);
  std::string activation(const Op& op);
  std::string add(const Op& op);
  std::string gelu(const Op& op, const std::string& y);
  std::string gelu_erf(const Op& op);
  std::string gelu_tanh(const Op& op);
  void describe_output();

  // convert_layout.cc: values in either layout
  const std::string& input(const Op& op, size_t index = 0);  // in the layout of the op's output
  const std::string& rows(ValueId value);
  const std::string& channels(ValueId value);
  std::string channel_layer_norm(const Op& op);
  // The mean over channels, [batch, 1, sequence, 1].
  std::string channel_mean(const Op& op, const std::string& suffix, const std::string& x);

  // convert_linear.cc: products and their quantization
  Tensor load(const Op& op, size_t index) const;
  std::string parameter(const Op& op, size_t index);
  // A vector [width] as [width, 1, 1], beside channels.
  std::string channel_parameter(const Op& op, size_t index);
  // A weight or vector in the precision of the op's parameters.
  std::string floats(const Op& op, const std::string& name, const std::vector<int64_t>& dims,
                     std::span<const float> values);
  std::string linear(const Op& op);
  std::string convolution(const Op& op, const std::string& x, const std::string& weight);
  std::string float_weight(const Op& op);
  std::string int8_weight(const Op& op);
  // An input that int8 products read, quantized with the file's scale; and back to float.
  std::string quantized(const Op& op, size_t index = 0);
  std::string dequantized(const Op& op, size_t index = 0);
  std::string zero_point();
  void quantize(ValueId value, std::string x, const std::string& q, const std::string& scale);

  // convert_plugin.cc: products as nodes of the TensorRT plug-in
  // The name of the result, or nothing where cuSPARSELt cannot take the layer.
  std::optional<std::string> plugin(const Op& op);
  onnx::TensorProto plugin_weight(const Op& op) const;
  std::string plugin_node(const Op& op, onnx::TensorProto weight);
  std::vector<OnnxAttribute> plugin_attributes(const Op& op, onnx::TensorProto weight) const;
  // Of the activation that alone reads the op's output, where the plug-in computes it.
  std::optional<std::string> fused_epilogue(const Op& op);

  // convert_attention.cc
  std::string attention(const Op& op);
  std::string channel_attention(const Op& op);
  std::string split_heads(const Op& op, size_t index, const std::string& what,
                          std::vector<int64_t> permutation);
  std::string split_channels(const Op& op, size_t index, const std::string& what);
  // Softmax over `axis` of the scaled scores of tokens, padding left out.
  std::string attention_weights(const Op& op, const std::string& product, int64_t axis);
  std::string additive_mask(Layout layout);
  std::string as_float(const std::string& x, const std::string& name);

  // convert_head.cc: from tokens to sequences
  std::string pool(const Op& op);
  std::string first(const Op& op, const std::string& x, int64_t axis);
  std::string mean(const Op& op, const std::string& x, int64_t axis);
  std::string maximum(const Op& op, const std::string& x, int64_t axis);
  std::string normalize(const Op& op);

  const ModelDirectory& model_;
  const Network& network_;
  const ExportOptions& options_;
  onnx::GraphProto& proto_;
  OnnxGraphBuilder graph_;
  ExportSummary& summary_;
  std::vector<QuantizedValue> quantized_;
  Names rows_, channels_;                  // by value; empty: not in this layout
  std::set<std::string> quantized_names_;  // of Q and DQ nodes that stand
  std::set<ValueId> fused_;                // results of activations that a product computes
  std::string additive_mask_;
};

// The graph's own input that says which tokens count.
inline constexpr const char* kAttentionMask = "attention_mask";

}  // namespace twofour
