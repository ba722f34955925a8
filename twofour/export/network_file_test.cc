#include "twofour/export/network_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/export/graph_builder.h"
#include "twofour/export/model_file.h"
#include "twofour/export/testing.h"

namespace twofour {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Two convolutions; the first is 2:4 along input channels, in two groups.
onnx::ModelProto network() {
  onnx::ModelProto model;
  OnnxGraphBuilder graph(*model.mutable_graph());
  std::vector<float> sparse;
  for (int64_t i = 0; i < int64_t{16} * 8 * 9; ++i) sparse.push_back(i / 9 % 4 < 2 ? 0.5f : 0.0f);
  graph.node("Conv", "a", {"x", graph.floats("sparse.weight", {16, 8, 3, 3}, sparse)},
             {{"group", int64_t{2}}});
  const std::vector<float> dense(8 * 16 * 49, 1.0f);
  graph.node("Conv", "b", {"a", graph.floats("dense.weight", {8, 16, 7, 7}, dense)});
  graph.node("Relu", "c", {"b"});
  return model;
}

nlohmann::json property_of(const Exported& exported) {
  EXPECT_EQ(exported.model.metadata_props_size(), 1);
  return nlohmann::json::parse(exported.model.metadata_props(0).value());
}

TEST(NetworkFile, IsWrittenAsItIsWithItsWeightsCounted) {
  const onnx::ModelProto model = network();
  const ExportRequest wanted = request(scratch("network.onnx"));
  write_file_atomically(wanted.model, model.SerializeAsString());
  const Exported exported(wanted);
  EXPECT_EQ(exported.graph().SerializeAsString(), model.graph().SerializeAsString());
  EXPECT_EQ(exported.summary.nodes, 3);
  EXPECT_EQ(exported.summary.bytes, fs::file_size(wanted.out));
  const auto& weights = exported.summary.weights;
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights[0].conv, (ConvShape{16, 8, 3, 3, 2}));
  EXPECT_TRUE(weights[0].is_sparse());
  EXPECT_FALSE(weights[1].is_sparse());
  const auto tensors = property_of(exported)["tensors"];
  EXPECT_EQ(tensors["sparse.weight"]["dtype"], "F32");
  EXPECT_EQ(tensors["sparse.weight"]["values"], 16 * 8 * 9);
  EXPECT_EQ(tensors["sparse.weight"]["groups"], 16 * 2 * 9);
  EXPECT_EQ(tensors["sparse.weight"]["groups_2_4"], 16 * 2 * 9);
  EXPECT_EQ(tensors["dense.weight"]["groups"], 8 * 4 * 49);
  EXPECT_EQ(tensors["dense.weight"]["groups_2_4"], 0);
}

TEST(NetworkFile, ItsDataMayBeOutsideBeforeAndAfter) {
  onnx::ModelProto model = network();
  const std::string bytes = model.graph().initializer(0).raw_data();
  ExportRequest wanted = request(scratch("network.onnx"));
  const fs::path data = write_onnx(wanted.model, model, true).data;
  const Exported inside(wanted);
  EXPECT_EQ(inside.initializers.at("sparse.weight")->raw_data(), bytes);
  EXPECT_NE(inside.initializers.at("sparse.weight")->data_location(), onnx::TensorProto::EXTERNAL);
  wanted.external_data = true;
  const Exported outside(wanted);
  EXPECT_EQ(outside.summary.data, wanted.out.string() + ".data");
  EXPECT_EQ(read_file(outside.summary.data).substr(0, bytes.size()), bytes);
  fs::remove(data);
  EXPECT_THAT([&] { run_export(wanted); },
              ThrowsMessage<Error>(HasSubstr("Keep the model's files together")));
}

TEST(NetworkFile, OneOfOursKeepsItsOrigin) {
  ExportRequest wanted = request(int8_model(), "tensorrt");
  const auto first = property_of(Exported(wanted));
  wanted = request(wanted.out, "openvino");
  const auto again = property_of(Exported(wanted));
  for (const char* key : {"model", "recipe", "target"}) EXPECT_EQ(again[key], first[key]) << key;
  const std::string weight = std::string(kQuery) + ".weight";
  EXPECT_EQ(again["tensors"][weight], first["tensors"][weight]);
}

TEST(NetworkFile, Refusals) {
  ExportRequest wanted = request(scratch("network.onnx"));
  const auto expect = [&](const std::string& message) {
    EXPECT_THAT([&] { run_export(wanted); }, ThrowsMessage<Error>(HasSubstr(message)));
    EXPECT_FALSE(fs::exists(wanted.out));
  };
  expect("network.onnx] cannot be read");
  write_file_atomically(wanted.model, "no model");
  expect("network.onnx] is no ONNX model");
  onnx::ModelProto model;
  OnnxGraphBuilder(*model.mutable_graph()).node("Relu", "a", {"x"});
  write_file_atomically(wanted.model, model.SerializeAsString());
  expect("network.onnx] holds no Conv, Gemm or MatMul with a constant weight");
  write_file_atomically(wanted.model, network().SerializeAsString());
  wanted.gemm_as_conv = true;
  expect("gemm_as_conv and plugin are for model directories");
}

}  // namespace
}  // namespace twofour
