#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/export/testing.h"

namespace twofour {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

ExportRequest conv_request(const fs::path& model, const std::string& target = "tensorrt") {
  ExportRequest wanted = request(model, target);
  wanted.gemm_as_conv = true;
  return wanted;
}

std::vector<std::string> names(const std::vector<const onnx::NodeProto*>& nodes) {
  std::vector<std::string> out;
  for (const onnx::NodeProto* node : nodes) out.push_back(node->name());
  return out;
}

int64_t layers(const std::string& layout) {
  return ModelDirectory::open(golden(layout)).config().num_hidden_layers;
}

// One at the embeddings and each layer's keys, which a product of scores must have turned.
std::vector<std::string> expected_transposes(const std::string& layout) {
  std::vector<std::string> out{"embeddings.LayerNorm/LayerNormalization/ToChannels"};
  for (int64_t i = 0; i < layers(layout); ++i) {
    out.push_back("encoder.layer." + std::to_string(i) + ".attention.self/Key/Transpose");
  }
  return out;
}

TEST(GemmAsConv, EveryEncoderLayerIsAConvolution) {
  for (const std::string opset : {"17", "18", "21"}) {
    ExportRequest wanted = conv_request(golden("cross-encoder"));
    wanted.opset = std::stoll(opset);
    const Exported exported(wanted);
    EXPECT_THAT(exported.broken_names(), IsEmpty());
    EXPECT_EQ(exported.nodes("Conv").size(), 6u * layers("cross-encoder"));
    EXPECT_EQ(exported.summary.convolutions, 6 * layers("cross-encoder"));
    // Two products of each attention, pooler and classifier.
    EXPECT_EQ(exported.nodes("MatMul").size(), 2u * layers("cross-encoder") + 2);
  }
}

TEST(GemmAsConv, NoTransposeStandsInALayerSaveThatOfKeys) {
  for (const std::string layout : {"cross-encoder", "minilm"}) {
    const Exported exported(conv_request(golden(layout)));
    EXPECT_THAT(names(exported.nodes("Transpose")),
                UnorderedElementsAreArray(expected_transposes(layout)));
  }
  const Exported hidden(conv_request(golden("bert-uncased")));
  EXPECT_EQ(hidden.graph().output(0).name(), "last_hidden_state");
  EXPECT_EQ(hidden.producers.at("last_hidden_state")->op_type(), "Transpose");
  EXPECT_EQ(hidden.nodes("Transpose").size(), expected_transposes("bert-uncased").size() + 1);
}

TEST(GemmAsConv, FloatWeightsStandAsTheyAreInTheModel) {
  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  const Exported exported(conv_request(golden("cross-encoder")));
  for (const onnx::NodeProto* conv : exported.nodes("Conv")) {
    const std::string& name = conv->input(1);
    const Tensor weight = to_f32(model.tensor(name), name);
    EXPECT_THAT(exported.initializers.at(name)->dims(),
                ElementsAre(weight.shape()[0], weight.shape()[1], 1, 1));
    const auto expected = weight.as<float>();
    EXPECT_EQ(exported.values<float>(name), std::vector<float>(expected.begin(), expected.end()));
    EXPECT_THAT(exported.initializers.at(conv->input(2))->dims(), ElementsAre(weight.shape()[0]));
  }
}

TEST(GemmAsConv, Int8WeightsKeepTheirZerosAlongInputChannels) {
  const fs::path path = int8_model();
  const ModelDirectory model = ModelDirectory::open(path);
  const Exported exported(conv_request(path));
  EXPECT_THAT(exported.broken_names(), IsEmpty());
  int64_t weights = 0;
  for (const auto& [name, tensor] : exported.initializers) {
    if (tensor->data_type() != onnx::TensorProto::INT8 || tensor->dims_size() != 4) continue;
    ++weights;
    const auto values = exported.values<int8_t>(name);
    const auto expected = model.tensor(name).as<int8_t>();
    EXPECT_EQ(values, std::vector<int8_t>(expected.begin(), expected.end()));
    for (size_t group = 0; group < values.size(); group += 4) {
      ASSERT_GE(std::count(values.begin() + group, values.begin() + group + 4, 0), 2) << name;
    }
  }
  EXPECT_EQ(weights, exported.summary.int8_layers);
  EXPECT_EQ(weights, exported.summary.sparse_layers);
}

void expect_placement(const Exported& exported, const std::string& target) {
  for (const onnx::NodeProto* conv : exported.nodes("Conv")) {
    const onnx::NodeProto& weight = *exported.producers.at(conv->input(1));
    EXPECT_EQ(weight.op_type(), "DequantizeLinear");
    EXPECT_EQ(weight.attribute(0).i(), 0);  // axis: output channels
    const onnx::NodeProto& dequantize = *exported.producers.at(conv->input(0));
    EXPECT_EQ(dequantize.op_type(), "DequantizeLinear") << target << conv->name();
    const onnx::NodeProto& quantize = *exported.producers.at(dequantize.input(0));
    EXPECT_EQ(quantize.op_type(), "QuantizeLinear");
    const float scale = conv->name() == std::string(kOutput) + "/Conv" ? 0.01f : 0.0125f;
    EXPECT_THAT(exported.values<float>(quantize.input(1)), ElementsAre(scale)) << conv->name();
    EXPECT_EQ(quantize.input(2), dequantize.input(2));
  }
}

TEST(GemmAsConv, QuantizationIsPlacedAndClippedAsBefore) {
  const fs::path path = int8_model();
  for (const std::string target : {"onnxruntime", "openvino", "tensorrt"}) {
    const Exported conv(conv_request(path, target));
    expect_placement(conv, target);
    ExportRequest plain = request(path, target);
    plain.out = scratch(target + "-matmul.onnx");
    const Exported matmul(plain);
    for (const char* type : {"QuantizeLinear", "DequantizeLinear", "Clip"}) {
      EXPECT_EQ(conv.nodes(type).size(), matmul.nodes(type).size()) << target << " " << type;
    }
    EXPECT_EQ(conv.summary.clipped_points, matmul.summary.clipped_points);
    EXPECT_EQ(conv.summary.quant_points, matmul.summary.quant_points);
  }
}

TEST(GemmAsConv, PropertyTellsTheForm) {
  const Exported exported(conv_request(golden("cross-encoder")));
  const auto json = nlohmann::json::parse(exported.model.metadata_props(0).value());
  EXPECT_EQ(json["gemm_as_conv"], true);
}

}  // namespace
}  // namespace twofour
