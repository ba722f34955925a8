// What export/ writes as a node of the TensorRT plug-in is what tensorrt/ reads: attributes become
// fields as TensorRT's parser makes them, and the plug-in, on stand-ins of cuSPARSELt and of the
// CUDA runtime, computes the layer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx.pb.h>

#include <filesystem>
#include <list>
#include <random>

#include "twofour/export/testing.h"
#include "twofour/io/content_hash.h"
#include "twofour/tensorrt/onnx_file.h"
#include "twofour/tensorrt/onnx_origin.h"
#include "twofour/tensorrt/testing.h"

namespace twofour {
namespace {

using tensorrt::FieldType;
using tensorrt::PluginField;
using tensorrt::SpmmPluginCore;

// The fields of a node, of those that the creator names. Integers become 32 bits, strings get a
// closing zero, a tensor has as many elements as its dimensions say.
class ParsedNode {
 public:
  explicit ParsedNode(const onnx::NodeProto& node) {
    for (const auto& known : tensorrt::field_names()) {
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        if (attribute.name() == known.name) add(attribute);
      }
    }
  }
  const std::vector<PluginField>& fields() const { return fields_; }

 private:
  void add(const onnx::AttributeProto& a) {
    if (a.type() == onnx::AttributeProto::INT) {
      integers_.push_back(static_cast<int32_t>(a.i()));
      fields_.push_back({a.name(), FieldType::kInt32, &integers_.back(), 1});
    } else if (a.type() == onnx::AttributeProto::STRING) {
      fields_.push_back(
          {a.name(), FieldType::kChar, a.s().c_str(), static_cast<int64_t>(a.s().size() + 1)});
    } else {
      int64_t length = 1;
      for (const int64_t dim : a.t().dims()) length *= dim;
      fields_.push_back({a.name(), type_of(a.t()), a.t().raw_data().data(), length});
    }
  }
  static FieldType type_of(const onnx::TensorProto& tensor) {
    if (tensor.data_type() == onnx::TensorProto::INT8) return FieldType::kInt8;
    return tensor.data_type() == onnx::TensorProto::FLOAT16 ? FieldType::kFloat16
                                                            : FieldType::kFloat32;
  }

  std::list<int32_t> integers_;
  std::vector<PluginField> fields_;
};

TEST(SpmmNode, ThePluginComputesEveryLayerThatExportWrites) {
  const fs::path path = int8_model();
  const ModelDirectory model = ModelDirectory::open(path);
  ExportRequest wanted = request(path, "tensorrt");
  wanted.plugin = true;
  const Exported exported(wanted);
  tensorrt::StandInGpu gpu;
  std::mt19937 random(3);
  int layers = 0;
  for (const onnx::NodeProto* node : exported.nodes(spmm_node::kType)) {
    ++layers;
    const ParsedNode parsed(*node);
    const SpmmPluginCore plugin(tensorrt::parse_fields(node->name(), parsed.fields()),
                                gpu.source());
    const std::string layer = node->name().substr(0, node->name().rfind('/'));
    const TensorView weight = model.tensor(layer + ".weight");
    const auto w = weight.as<int8_t>();
    const Tensor scale_tensor = to_f32(model.tensor(layer + ".weight_scale"), layer);
    const Tensor bias_tensor = to_f32(model.tensor(layer + ".bias"), layer);
    const float input_scale = layer == kOutput ? 0.01f : 0.0125f;
    const int64_t m = 21, n = weight.shape[0], k = weight.shape[1];

    std::vector<int8_t> x(m * k);
    for (int8_t& value : x) value = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
    std::vector<uint16_t> y(m * n);
    std::vector<std::byte> workspace(plugin.workspace_bytes(m) + 256);
    plugin.enqueue(m, x.data(), y.data(), workspace.data(), nullptr);
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t column = 0; column < n; ++column) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += x[row * k + i] * w[column * k + i];
        const double expected = sum * input_scale * scale_tensor.as<const float>()[column] +
                                bias_tensor.as<const float>()[column];
        ASSERT_NEAR(f16_to_f32(y[row * n + column]), expected,
                    2e-3 * std::max(1.0, std::abs(expected)))
            << layer;
      }
    }
  }
  EXPECT_EQ(layers, 12);
  EXPECT_EQ(gpu.cusparselt.violations, "");
}

// So that an engine runs for its own model alone.
TEST(OnnxOrigin, IsTheModelThatWasExported) {
  ExportRequest wanted = request(int8_model(), "tensorrt");
  for (const bool external_data : {false, true}) {
    wanted.external_data = external_data;
    run_export(wanted);
    EXPECT_EQ(tensorrt::exported_model(wanted.out), hash_of(ModelDirectory::open(wanted.model)));
  }
}

// Every form that export has passes what is asked of a file before TensorRT sees it.
TEST(OnnxFile, IsTakenAsItIsExported) {
  EXPECT_EQ(tensorrt::kLeastOpset, kMinOpset);
  const fs::path path = int8_model();
  for (const int64_t opset : {kMinOpset, kMaxOpset}) {
    for (const std::string form : {"matmul", "convolution", "plugin"}) {
      ExportRequest wanted = request(path, "tensorrt");
      wanted.opset = opset;
      wanted.gemm_as_conv = form == "convolution";
      wanted.plugin = form == "plugin";
      const Exported exported(wanted);
      EXPECT_NO_THROW(tensorrt::check_onnx(wanted.out)) << form;
      const tensorrt::OnnxFile file = tensorrt::read_onnx(wanted.out);
      EXPECT_EQ(file.opset, opset);
      ASSERT_EQ(static_cast<int>(file.nodes.size()), exported.graph().node_size()) << form;
      EXPECT_EQ(file.nodes[5].name, exported.graph().node(5).name());
      EXPECT_EQ(file.nodes[5].type, exported.graph().node(5).op_type());
    }
  }
}

}  // namespace
}  // namespace twofour
