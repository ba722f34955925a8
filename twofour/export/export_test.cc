#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/export/converter.h"
#include "twofour/export/model_file.h"
#include "twofour/export/quantization.h"
#include "twofour/export/testing.h"
#include "twofour/io/content_hash.h"

namespace twofour {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

std::vector<std::string> dims(const onnx::ValueInfoProto& info) {
  std::vector<std::string> out;
  for (const auto& dim : info.type().tensor_type().shape().dim())
    out.push_back(dim.has_dim_param() ? dim.dim_param() : std::to_string(dim.dim_value()));
  return out;
}

TEST(Export, FloatModelKeepsItsWeights) {
  const Exported exported(request(golden("cross-encoder")));
  EXPECT_THAT(exported.broken_names(), IsEmpty());
  EXPECT_THAT(exported.nodes("QuantizeLinear"), IsEmpty());
  EXPECT_EQ(exported.model.opset_import(0).version(), 17);
  ASSERT_EQ(exported.graph().input_size(), 3);
  for (const auto& input : exported.graph().input())
    EXPECT_THAT(dims(input), ElementsAre("batch", "sequence"));

  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  const std::string name = std::string(kOutput) + ".weight";
  const Tensor weight = to_f32(model.tensor(name), name);
  const int64_t n = weight.shape()[0], k = weight.shape()[1];
  EXPECT_THAT(exported.initializers.at(name)->dims(), ElementsAre(k, n));
  const auto values = exported.values<float>(name);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < k; ++j) ASSERT_EQ(values[j * n + i], weight.as<float>()[i * k + j]);
  }
}

TEST(Export, OutputIsNamedForTheHead) {
  const auto output = [](const std::string& layout) {
    const Exported exported(request(golden(layout)));
    EXPECT_THAT(exported.broken_names(), IsEmpty());
    return exported.graph().output(0);
  };
  const int64_t labels = ModelDirectory::open(golden("cross-encoder")).config().num_labels;
  EXPECT_EQ(output("cross-encoder").name(), "logits");
  EXPECT_THAT(dims(output("cross-encoder")), ElementsAre("batch", std::to_string(labels)));
  EXPECT_EQ(output("minilm").name(), "embeddings");
  const auto hidden = output("bert-uncased");
  EXPECT_EQ(hidden.name(), "last_hidden_state");
  EXPECT_THAT(dims(hidden), ElementsAre("batch", "sequence", testing::_));
}

// The golden cross-encoder with its classifier on every token.
fs::path token_model() {
  const fs::path path = scratch("tokens");
  fs::copy(golden("cross-encoder"), path, fs::copy_options::recursive);
  std::string config = read_file(path / "config.json");
  const std::string head = "ForSequenceClassification";
  config.replace(config.find(head), head.size(), "ForTokenClassification");
  write_file_atomically(path / "config.json", config);
  return path;
}

TEST(Export, AModelThatClassifiesTokensHasLogitsForEach) {
  const fs::path path = token_model();
  for (const bool convolutions : {false, true}) {
    for (const bool half : {false, true}) {
      ExportRequest wanted = request(path, "tensorrt");
      wanted.gemm_as_conv = convolutions;
      wanted.precision = half ? "fp16" : "f32";
      const Exported exported(wanted);
      EXPECT_THAT(exported.broken_names(), IsEmpty());
      const auto& logits = exported.graph().output(0);
      EXPECT_EQ(logits.name(), "logits");
      EXPECT_THAT(dims(logits), ElementsAre("batch", "sequence", "3"));
      EXPECT_EQ(logits.type().tensor_type().elem_type(), onnx::TensorProto::FLOAT);
      EXPECT_EQ(exported.initializers.at("classifier.weight")->data_type(),
                half ? onnx::TensorProto::FLOAT16 : onnx::TensorProto::FLOAT);
      EXPECT_FALSE(exported.initializers.contains("pooler.dense.weight"));
    }
  }
}

TEST(Export, EveryInt8WeightStaysSparseAndNarrow) {
  const fs::path path = int8_model();
  const ModelDirectory model = ModelDirectory::open(path);
  const Exported exported(request(path));
  EXPECT_THAT(exported.broken_names(), IsEmpty());
  int64_t weights = 0;
  for (const auto& [name, tensor] : exported.initializers) {
    if (tensor->data_type() != onnx::TensorProto::INT8 || tensor->dims_size() != 2) continue;
    ++weights;
    const int64_t k = tensor->dims(0), n = tensor->dims(1);
    const auto values = exported.values<int8_t>(name);
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t group = 0; group < k; group += 4) {
        int nonzero = 0;
        for (int64_t i = group; i < group + 4; ++i) nonzero += values[i * n + j] != 0;
        ASSERT_LE(nonzero, 2) << name << " column " << j << " group " << group;
      }
    }
    EXPECT_EQ(std::count(values.begin(), values.end(), -128), 0) << name;
    const auto scales = to_f32(model.tensor(name + "_scale"), name);
    const auto expected = scales.as<float>();
    EXPECT_EQ(exported.values<float>(name + "_scale"),
              std::vector<float>(expected.begin(), expected.end()));
  }
  EXPECT_EQ(weights, exported.summary.int8_layers);
  EXPECT_EQ(weights, exported.summary.sparse_layers);
  EXPECT_EQ(weights, exported.summary.linear_layers - 2);  // pooler and classifier
}

TEST(Export, Int8ProductsReadTwoDequantizedTensors) {
  const fs::path path = int8_model();
  for (const std::string target : {"onnxruntime", "openvino", "tensorrt"}) {
    const Exported exported(request(path, target));
    int64_t products = 0;
    for (const onnx::NodeProto* node : exported.nodes("MatMul")) {
      const auto weight = exported.producers.find(node->input(1));
      if (weight == exported.producers.end() || weight->second->op_type() != "DequantizeLinear")
        continue;
      ++products;
      EXPECT_EQ(weight->second->attribute(0).name(), "axis");
      EXPECT_EQ(weight->second->attribute(0).i(), 1);
      const onnx::NodeProto& dequantize = *exported.producers.at(node->input(0));
      EXPECT_EQ(dequantize.op_type(), "DequantizeLinear");
      const onnx::NodeProto& quantize = *exported.producers.at(dequantize.input(0));
      EXPECT_EQ(quantize.op_type(), "QuantizeLinear");
      const float scale = node->name() == std::string(kOutput) + "/MatMul" ? 0.01f : 0.0125f;
      EXPECT_THAT(exported.values<float>(quantize.input(1)), ElementsAre(scale)) << node->name();
      EXPECT_EQ(quantize.input(1), dequantize.input(1));
      EXPECT_EQ(quantize.input(2), dequantize.input(2));
    }
    EXPECT_EQ(products, exported.summary.int8_layers) << target;
  }
}

TEST(Export, EachTargetHasItsPlacement) {
  const fs::path path = int8_model();
  const Exported runtime(request(path, "onnxruntime")), openvino(request(path, "openvino"));
  const auto activations = [](const Exported& exported) {
    return static_cast<int64_t>(exported.nodes("DequantizeLinear").size()) -
           exported.summary.int8_layers;
  };
  EXPECT_EQ(activations(runtime), runtime.summary.int8_layers);
  EXPECT_EQ(activations(openvino), openvino.summary.quant_points);
  const auto zero = [](const Exported& exported) {
    return exported.initializers.at(exported.nodes("QuantizeLinear")[0]->input(2));
  };
  EXPECT_EQ(zero(runtime)->data_type(), onnx::TensorProto::UINT8);
  EXPECT_EQ(zero(runtime)->raw_data(), "\x80");
  EXPECT_EQ(zero(openvino)->data_type(), onnx::TensorProto::INT8);
  EXPECT_EQ(zero(openvino)->raw_data(), std::string(1, '\0'));
}

TEST(Export, ClipsWhereTheEngineWouldStopEarlier) {
  ExportRequest wanted = request(int8_model());
  const Exported clipped(wanted);
  const auto clips = clipped.nodes("Clip");
  ASSERT_THAT(clips, Not(IsEmpty()));
  EXPECT_EQ(static_cast<int64_t>(clips.size()), clipped.summary.clipped_points);
  for (const onnx::NodeProto* clip : clips) {
    EXPECT_THAT(clip->input(0), Not(HasSubstr("intermediate.activation")));
    EXPECT_THAT(clipped.values<float>(clip->input(1)), ElementsAre(-127 * 0.0125f));
  }
  wanted.clip = false;
  EXPECT_THAT(Exported(wanted).nodes("Clip"), IsEmpty());
}

// The copy that the next product reads: nothing is quantized twice.
void expect_int8_residuals(const Exported& exported) {
  EXPECT_THAT(exported.broken_names(), IsEmpty());
  EXPECT_EQ(exported.summary.int8_residuals, 4);
  EXPECT_EQ(static_cast<int64_t>(exported.nodes("QuantizeLinear").size()),
            exported.summary.quant_points);
  const std::string layer = "encoder.layer.1.";
  for (const auto& [name, reader] : std::vector<std::pair<std::string, std::string>>{
           {"attention.output.add", "attention.self.query"},
           {"output.add", "intermediate.dense"}}) {
    const onnx::NodeProto& add = *exported.producers.at(layer + name + "/Add");
    const onnx::NodeProto& residual = *exported.producers.at(add.input(1));
    EXPECT_EQ(residual.op_type(), "DequantizeLinear") << name;
    EXPECT_EQ(residual.input(0), exported.quantized_input(layer + reader)) << name;
    EXPECT_NE(exported.producers.at(add.input(0))->op_type(), "DequantizeLinear") << name;
  }
}

TEST(Export, ResidualConnectionsAddTheInt8CopyWhereAsked) {
  const fs::path path = int8_model();
  for (const std::string target : {"onnxruntime", "openvino", "tensorrt"}) {
    ExportRequest wanted = request(path, target);
    EXPECT_EQ(Exported(wanted).summary.int8_residuals, 0);
    wanted.quantize_residual = true;
    expect_int8_residuals(Exported(wanted));
    wanted.gemm_as_conv = true;
    expect_int8_residuals(Exported(wanted));
    if (target != "tensorrt") continue;
    wanted.gemm_as_conv = false;
    wanted.plugin = true;
    const Exported plugin(wanted);
    expect_int8_residuals(plugin);
    EXPECT_EQ(plugin.nodes("DequantizeLinear").size(), 4u);
    const auto json = nlohmann::json::parse(plugin.model.metadata_props(0).value());
    EXPECT_EQ(json["quantize_residual"], true);
  }
}

TEST(Export, FloatModelsHaveNoInt8Residuals) {
  ExportRequest wanted = request(golden("cross-encoder"));
  wanted.quantize_residual = true;
  EXPECT_THAT([&] { run_export(wanted); },
              ThrowsMessage<Error>(AllOf(HasSubstr("quantize_residual is for int8 models"),
                                         HasSubstr("twofour calibrate"))));
  EXPECT_FALSE(fs::exists(wanted.out));
}

TEST(LowerBound, KnowsActivationsAndLayerNorm) {
  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  const Network network = build_network(model.config());
  for (const Op& op : network.ops) {
    const double bound = lower_bound(network, op.output, model);
    if (op.kind == OpKind::kActivation && op.activation == ActivationKind::kGelu) {
      EXPECT_NEAR(bound, -0.17, 0.001);
    }
    if (op.kind == OpKind::kLinear || op.kind == OpKind::kAttention) {
      EXPECT_EQ(bound, -std::numeric_limits<double>::infinity());
    }
    if (op.kind != OpKind::kLayerNorm) continue;
    const std::string& name = network.parameter(op, 0).name;
    const auto gamma = to_f32(model.tensor(name), name);
    float largest = 0;
    for (float value : gamma.as<float>()) largest = std::max(largest, std::fabs(value));
    EXPECT_LT(bound, -largest);
    EXPECT_GT(bound, -2 * largest * std::sqrt(gamma.numel()));
  }
}

TEST(Export, ExternalDataHoldTheSameBytes) {
  ExportRequest wanted = request(golden("cross-encoder"));
  const Exported inside(wanted);
  EXPECT_TRUE(inside.summary.data.empty());
  wanted.out = scratch("outside.onnx");
  wanted.external_data = true;
  const Exported outside(wanted);
  EXPECT_EQ(outside.summary.data, wanted.out.string() + ".data");
  const std::string data = read_file(outside.summary.data);
  EXPECT_EQ(outside.summary.bytes, data.size() + fs::file_size(wanted.out));
  int moved = 0;
  for (const auto& [name, tensor] : outside.initializers) {
    const std::string& expected = inside.initializers.at(name)->raw_data();
    if (tensor->data_location() != onnx::TensorProto::EXTERNAL) {
      EXPECT_EQ(tensor->raw_data(), expected) << name;
      continue;
    }
    ++moved;
    std::map<std::string, std::string> entries;
    for (const auto& entry : tensor->external_data()) entries[entry.key()] = entry.value();
    EXPECT_EQ(entries["location"], wanted.out.filename().string() + ".data");
    const size_t offset = std::stoull(entries["offset"]), length = std::stoull(entries["length"]);
    EXPECT_EQ(offset % 4096, 0u);
    EXPECT_TRUE(data.compare(offset, length, expected) == 0 && length == expected.size()) << name;
  }
  EXPECT_GT(moved, 5);
}

TEST(Export, AFileBeyondTheLimitHasItsDataOutsideUnasked) {
  Exported exported(request(golden("cross-encoder")));
  const uint64_t size = exported.model.ByteSizeLong();
  const fs::path path = scratch("large.onnx");
  EXPECT_TRUE(write_onnx(path, exported.model, false, size).data.empty());
  EXPECT_EQ(fs::file_size(path), size);
  const WrittenModel written = write_onnx(path, exported.model, false, size - 1);
  EXPECT_EQ(written.data, path.string() + ".data");
  EXPECT_LT(fs::file_size(path), size);
  EXPECT_EQ(written.bytes, fs::file_size(path) + fs::file_size(written.data));
}

TEST(Export, DataOfAnEarlierModelGo) {
  ExportRequest wanted = request(golden("cross-encoder"));
  const fs::path data = wanted.out.string() + ".data";
  write_file_atomically(data, "of a file that is not there");
  const Exported small(wanted);
  EXPECT_TRUE(fs::exists(data)) << "no model referred to them";
  wanted.external_data = true;
  const Exported outside(wanted);
  ASSERT_TRUE(fs::exists(data));
  wanted.external_data = false;
  const Exported inside(wanted);
  EXPECT_FALSE(fs::exists(data));
  EXPECT_EQ(inside.summary.bytes, fs::file_size(wanted.out));
}

TEST(Export, DataThatCannotBeWrittenLeaveTheEarlierModel) {
  ExportRequest wanted = request(golden("cross-encoder"));
  run_export(wanted);
  const std::string before = read_file(wanted.out);
  fs::create_directories(wanted.out.string() + ".data");
  wanted.external_data = true;
  EXPECT_THAT([&] { run_export(wanted); }, ThrowsMessage<Error>(HasSubstr("not a regular file")));
  EXPECT_TRUE(read_file(wanted.out) == before);
}

TEST(Export, PropertyTellsTheOrigin) {
  const fs::path path = int8_model();
  const Exported exported(request(path, "tensorrt"));
  ASSERT_EQ(exported.model.metadata_props_size(), 1);
  EXPECT_EQ(exported.model.metadata_props(0).key(), "twofour");
  const auto json = nlohmann::json::parse(exported.model.metadata_props(0).value());
  EXPECT_EQ(json["model"], hash_of(ModelDirectory::open(path)));
  EXPECT_EQ(json["target"], "tensorrt");
  EXPECT_EQ(json["recipe"]["name"], "a-recipe");
  const auto& weight = json["tensors"][std::string(kQuery) + ".weight"];
  EXPECT_EQ(weight["dtype"], "I8");
  EXPECT_EQ(weight["values"], 32 * 32);
  EXPECT_EQ(weight["groups"], 32 * 32 / 4);
  EXPECT_EQ(weight["groups_2_4"], weight["groups"]);
  EXPECT_GE(weight["zeros"], 32 * 32 / 2);
}

TEST(Export, RefusesBadRequests) {
  const auto expect = [](const ExportRequest& bad, const auto& message) {
    EXPECT_THAT([&] { run_export(bad); }, ThrowsMessage<Error>(message));
    EXPECT_FALSE(fs::is_regular_file(bad.out));
  };
  expect(request(testing::TempDir()), HasSubstr("no such file"));
  expect(request(golden("cross-encoder"), "tensorflow"),
         AllOf(HasSubstr("target 'tensorflow' is not known"),
               HasSubstr("Known: onnxruntime, openvino, tensorrt")));
  ExportRequest bad = request(golden("cross-encoder"));
  for (int64_t opset : {16, 22}) {
    bad.opset = opset;
    expect(bad, HasSubstr("must be in [17, 21]"));
  }
  bad.opset = 17;
  bad.out = scratch("model.bin");
  expect(bad, HasSubstr("must end in .onnx"));
  bad.out = scratch("folder.onnx");
  fs::create_directories(bad.out);
  expect(bad, HasSubstr("it is a folder"));
  bad.out = "/proc/model.onnx";
  expect(bad, HasSubstr("/proc/model.onnx"));
}

TEST(Export, RefusesReadersThatDisagree) {
  const fs::path path =
      write_int8_model([](const Op& op) { return op.name == kQuery ? 0.02f : 0.01f; });
  EXPECT_THAT([&] { run_export(request(path)); },
              ThrowsMessage<Error>(HasSubstr("must have one input scale")));
}

TEST(Export, RefusesAHeadWithoutWeights) {
  const ModelDirectory model =
      ModelDirectory::open(golden("bert-uncased")).with_head(HeadKind::kClassification, 3);
  ExportSummary summary;
  const ExportOptions options{export_target("openvino")};
  EXPECT_THAT([&] { convert_to_onnx(model, options, summary); },
              ThrowsMessage<Error>(HasSubstr("classifier.weight")));
}

}  // namespace
}  // namespace twofour
