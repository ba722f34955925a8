#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/export/testing.h"
#include "twofour/export/written_layers.h"
#include "twofour/graph/spmm_node.h"

namespace twofour {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

constexpr const char* kIntermediate = "encoder.layer.0.intermediate.dense";

ExportRequest plugin_request(const fs::path& model, const std::string& precision = "f32") {
  ExportRequest wanted = request(model, "tensorrt");
  wanted.plugin = true;
  wanted.precision = precision;
  return wanted;
}

// The golden cross-encoder, encoder 2:4 in f32.
fs::path sparse_model(const std::string& except = "") {
  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  ModelToSave save{model.path(), model.config(), {}, ""};
  std::vector<Tensor> kept;
  for (const std::string& name : model.tensor_names()) {
    const bool prune = name.starts_with("encoder.") && model.tensor(name).shape.rank() == 2 &&
                       name != except + ".weight";
    kept.push_back(prune ? pruned(name, model.tensor(name)) : Tensor(model.tensor(name)));
  }
  for (size_t i = 0; i < kept.size(); ++i) {
    save.tensors.push_back({model.tensor_names()[i], kept[i].view()});
  }
  const fs::path path = scratch("sparse");
  save_model_directory(path, save);
  return path;
}

std::map<std::string, const onnx::AttributeProto*> attributes(const onnx::NodeProto& node) {
  std::map<std::string, const onnx::AttributeProto*> found;
  for (const auto& attribute : node.attribute()) found[attribute.name()] = &attribute;
  return found;
}

const onnx::NodeProto& node_of(const Exported& exported, const std::string& layer) {
  return *exported.producers.at(layer + "/Spmm");
}

template <class T>
std::vector<T> values(const onnx::TensorProto& tensor) {
  std::vector<T> out(tensor.raw_data().size() / sizeof(T));
  std::memcpy(out.data(), tensor.raw_data().data(), tensor.raw_data().size());
  return out;
}

TEST(Plugin, EverySparseInt8LayerIsANode) {
  const Exported exported(plugin_request(int8_model()));
  EXPECT_THAT(exported.broken_names(), IsEmpty());
  EXPECT_EQ(exported.nodes(spmm_node::kType).size(), 12u);
  EXPECT_EQ(exported.summary.plugin_layers, 12);
  EXPECT_EQ(exported.summary.int8_layers, 12);
  EXPECT_EQ(exported.summary.sparse_layers, 12);
  for (const WrittenLayer& layer : exported.summary.layers) {
    const bool head = layer.name == "pooler.dense" || layer.name == "classifier";
    EXPECT_EQ(layer.form, head ? LayerForm::kMatMul : LayerForm::kPlugin) << layer.name;
    EXPECT_EQ(refusal(layer, "cusparselt"), head ? "head: stays dense" : "");
  }
}

TEST(Plugin, TheParserFindsNameVersionAndDomain) {
  const Exported exported(plugin_request(int8_model()));
  const onnx::NodeProto& node = node_of(exported, kQuery);
  EXPECT_EQ(node.domain(), "trt.plugins");
  EXPECT_EQ(attributes(node).at("plugin_version")->s(), "1");
  EXPECT_EQ(attributes(node).at("plugin_namespace")->s(), "");
  std::map<std::string, int64_t> opsets;
  for (const auto& opset : exported.model.opset_import()) opsets[opset.domain()] = opset.version();
  EXPECT_EQ(opsets, (std::map<std::string, int64_t>{{"", 17}, {"trt.plugins", 1}}));
}

TEST(Plugin, WeightsBiasAndScalesAreTheModels) {
  const fs::path path = int8_model();
  const ModelDirectory model = ModelDirectory::open(path);
  const Exported exported(plugin_request(path));
  const auto found = attributes(node_of(exported, kOutput));
  const auto tensor = [&](const char* name) -> const onnx::TensorProto& {
    return found.at(name)->t();
  };
  const std::string name = std::string(kOutput) + ".weight";
  const auto weight = model.tensor(name);
  EXPECT_EQ(found.at("type")->s(), "int8");
  EXPECT_EQ(found.at("n")->i(), weight.shape[0]);
  EXPECT_EQ(found.at("k")->i(), weight.shape[1]);
  EXPECT_EQ(found.at("max_m")->i(), 4096);
  EXPECT_EQ(found.at("bucket_step")->i(), 16);
  EXPECT_EQ(found.at("epilogue")->s(), "bias");
  EXPECT_THAT(tensor("weight").dims(), ElementsAre(weight.shape[0], weight.shape[1]));
  const auto expected = weight.as<int8_t>();
  EXPECT_EQ(values<int8_t>(tensor("weight")),
            std::vector<int8_t>(expected.begin(), expected.end()));
  EXPECT_THAT(values<float>(tensor("input_scale")), ElementsAre(0.01f));
  const Tensor scales = to_f32(model.tensor(name + "_scale"), name);
  EXPECT_THAT(values<float>(tensor("weight_scale")), testing::ElementsAreArray(scales.as<float>()));
  const std::string bias_name = std::string(kOutput) + ".bias";
  const Tensor bias = to_f32(model.tensor(bias_name), bias_name);
  EXPECT_THAT(values<float>(tensor("bias")), testing::ElementsAreArray(bias.as<float>()));
}

// Query, key and value read one quantized input; nothing is dequantized before a node.
TEST(Plugin, NodesReadInt8AndGiveFp16) {
  const Exported exported(plugin_request(int8_model()));
  for (const onnx::NodeProto* node : exported.nodes(spmm_node::kType)) {
    ASSERT_EQ(node->input_size(), 1);
    EXPECT_EQ(exported.producers.at(node->input(0))->op_type(), "QuantizeLinear");
  }
  EXPECT_EQ(node_of(exported, kQuery).input(0),
            node_of(exported, "encoder.layer.0.attention.self.value").input(0));
  EXPECT_THAT(exported.nodes("DequantizeLinear"), IsEmpty());
  EXPECT_EQ(static_cast<int64_t>(exported.nodes("QuantizeLinear").size()),
            exported.summary.quant_points);
  const auto& info = exported.graph().value_info(0);
  EXPECT_EQ(info.name(), std::string(kQuery) + "/Spmm");
  EXPECT_EQ(info.type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(info.type().tensor_type().shape().dim(2).dim_value(), 32);
}

TEST(Plugin, GeluIsTheNodesInFp16AndTheGraphsInInt8) {
  const Exported half(plugin_request(sparse_model(), "fp16"));
  EXPECT_EQ(attributes(node_of(half, kIntermediate)).at("epilogue")->s(), "bias_gelu");
  EXPECT_EQ(attributes(node_of(half, kIntermediate)).at("type")->s(), "fp16");
  EXPECT_EQ(attributes(node_of(half, kIntermediate)).at("weight")->t().data_type(),
            onnx::TensorProto::FLOAT16);
  EXPECT_EQ(attributes(node_of(half, kIntermediate)).count("input_scale"), 0u);
  EXPECT_THAT(half.nodes("Erf"), IsEmpty());
  EXPECT_EQ(node_of(half, kOutput).input(0), std::string(kIntermediate) + "/Spmm");
  const Exported int8(plugin_request(int8_model()));
  EXPECT_EQ(attributes(node_of(int8, kIntermediate)).at("epilogue")->s(), "bias");
  EXPECT_EQ(int8.nodes("Erf").size(), 2u);
}

TEST(Plugin, ALayerThatIsNotSparseStaysAMatMul) {
  const Exported exported(plugin_request(sparse_model(kQuery), "fp16"));
  EXPECT_THAT(exported.broken_names(), IsEmpty());
  EXPECT_EQ(exported.summary.plugin_layers, 11);
  EXPECT_TRUE(exported.producers.contains(std::string(kQuery) + "/MatMul"));
  EXPECT_THAT(refusal(exported.summary.layers.front(), "cusparselt"),
              HasSubstr("groups of four have more than two"));
}

// Counted again in the attribute of the finished graph.
TEST(Plugin, OneGroupTooFullIsFound) {
  const fs::path path = int8_model();
  Exported exported(plugin_request(path));
  for (auto& node : *exported.model.mutable_graph()->mutable_node()) {
    if (node.name() != std::string(kQuery) + "/Spmm") continue;
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.name() != spmm_node::kWeight) continue;
      for (int i = 0; i < 4; ++i) (*attribute.mutable_t()->mutable_raw_data())[i] = 5;
    }
  }
  const Network network = build_network(ModelDirectory::open(path).config());
  const auto layers = written_layers(network, exported.model.graph());
  EXPECT_EQ(layers.front().groups_2_4, layers.front().groups - 1);
  EXPECT_FALSE(layers.front().sparse);
}

TEST(Plugin, WeightsOfNodesGoToExternalDataToo) {
  ExportRequest wanted = plugin_request(int8_model());
  const Exported inside(wanted);
  wanted.out = scratch("outside.onnx");
  wanted.external_data = true;
  const Exported outside(wanted);
  const std::string data = read_file(outside.summary.data);
  const auto& moved = attributes(node_of(outside, kQuery)).at("weight")->t();
  const auto& kept = attributes(node_of(inside, kQuery)).at("weight")->t();
  ASSERT_EQ(moved.data_location(), onnx::TensorProto::EXTERNAL);
  std::map<std::string, std::string> entries;
  for (const auto& entry : moved.external_data()) entries[entry.key()] = entry.value();
  EXPECT_EQ(data.substr(std::stoull(entries["offset"]), std::stoull(entries["length"])),
            kept.raw_data());
}

TEST(Plugin, PropertyTellsTheForm) {
  const Exported exported(plugin_request(int8_model()));
  const auto json = nlohmann::json::parse(exported.model.metadata_props(0).value());
  EXPECT_EQ(json["plugin"]["type"], "SpmmPluginDynamic");
  EXPECT_EQ(json["tensors"][std::string(kQuery) + ".weight"]["groups_2_4"], 32 * 32 / 4);
}

TEST(Plugin, Refusals) {
  const auto expect = [](const ExportRequest& bad, const auto& message) {
    EXPECT_THAT([&] { run_export(bad); }, ThrowsMessage<Error>(message));
    EXPECT_FALSE(fs::exists(bad.out));
  };
  expect(plugin_request(sparse_model()), AllOf(HasSubstr("no layer can run in the plug-in"),
                                               HasSubstr("F32"), HasSubstr("precision fp16")));
  ExportRequest bad = plugin_request(int8_model());
  bad.target = "openvino";
  expect(bad, HasSubstr("for target tensorrt, not 'openvino'"));
  bad = plugin_request(int8_model());
  bad.gemm_as_conv = true;
  expect(bad, HasSubstr("exclude each other"));
  bad.gemm_as_conv = false;
  bad.plugin_max_m = 0;
  expect(bad, HasSubstr("plugin_max_m is 0"));
}

}  // namespace
}  // namespace twofour
