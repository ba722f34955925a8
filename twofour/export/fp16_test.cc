#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/base/error.h"
#include "twofour/export/graph_builder.h"
#include "twofour/export/testing.h"

namespace twofour {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

ExportRequest half_request(const fs::path& model, bool convolutions) {
  ExportRequest wanted = request(model, "tensorrt");
  wanted.precision = "fp16";
  wanted.gemm_as_conv = convolutions;
  return wanted;
}

TEST(Fp16, EmbeddingsAndEncoderAreHalfTheRestStays) {
  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  for (const bool convolutions : {false, true}) {
    const Exported exported(half_request(golden("cross-encoder"), convolutions));
    EXPECT_THAT(exported.broken_names(), IsEmpty());
    const auto type = [&](const std::string& name) {
      return exported.initializers.at(name)->data_type();
    };
    for (const char* name :
         {"embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight",
          "encoder.layer.0.attention.self.query.bias"}) {
      EXPECT_EQ(type(name), onnx::TensorProto::FLOAT16) << name;
    }
    for (const char* name : {"embeddings.LayerNorm.weight", "encoder.layer.1.output.LayerNorm.bias",
                             "pooler.dense.weight", "classifier.bias"}) {
      EXPECT_EQ(type(name), onnx::TensorProto::FLOAT) << name;
    }
    EXPECT_EQ(exported.graph().output(0).type().tensor_type().elem_type(),
              onnx::TensorProto::FLOAT);
    const WrittenLayer& query = exported.summary.layers.front();
    EXPECT_EQ(query.dtype, DType::kF16);
  }
}

TEST(Fp16, LayerNormAndSoftmaxReadF32) {
  const Exported exported(half_request(golden("cross-encoder"), false));
  for (const onnx::NodeProto* norm : exported.nodes("LayerNormalization")) {
    EXPECT_EQ(exported.producers.at(norm->input(0))->op_type(), "Cast") << norm->name();
  }
  for (const onnx::NodeProto* softmax : exported.nodes("Softmax")) {
    const onnx::NodeProto& mask = *exported.producers.at(softmax->input(0));
    EXPECT_EQ(exported.producers.at(mask.input(0))->op_type(), "Cast") << softmax->name();
  }
}

TEST(Fp16, SparseWeightsStaySparse) {
  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  ModelToSave save{model.path(), model.config(), {}, ""};
  std::vector<Tensor> kept;
  for (const std::string& name : model.tensor_names()) {
    const bool encoder = name.starts_with("encoder.") && model.tensor(name).shape.rank() == 2;
    kept.push_back(encoder ? pruned(name, model.tensor(name)) : Tensor(model.tensor(name)));
  }
  for (size_t i = 0; i < kept.size(); ++i) {
    save.tensors.push_back({model.tensor_names()[i], kept[i].view()});
  }
  const fs::path path = scratch("sparse");
  save_model_directory(path, save);
  const Exported exported(half_request(path, true));
  EXPECT_EQ(exported.summary.sparse_layers, 12);
  for (const WrittenLayer& layer : exported.summary.layers) {
    for (const Eligibility& engine : layer.engines) {
      EXPECT_EQ(engine.reason, layer.sparse ? "" : "head: stays dense") << layer.name;
    }
  }
}

TEST(Fp16, IsRefusedForInt8ModelsAndUnknownNames) {
  const fs::path path = int8_model();
  EXPECT_THAT([&] { run_export(half_request(path, false)); },
              ThrowsMessage<Error>(HasSubstr("precision fp16 is for float models")));
  ExportRequest wanted = request(golden("cross-encoder"));
  wanted.precision = "fp8";
  EXPECT_THAT([&] { run_export(wanted); }, ThrowsMessage<Error>(HasSubstr("Known: f32, fp16")));
  EXPECT_FALSE(fs::exists(wanted.out));
}

TEST(Fp16, ValuesBeyondItsRangeAreNamed) {
  onnx::GraphProto graph;
  OnnxGraphBuilder builder(graph);
  const std::vector<float> values{1, -1e6f};
  EXPECT_THAT([&] { builder.halves("a.weight", {2}, values); },
              ThrowsMessage<Error>(HasSubstr("element 1 is -1000000")));
  builder.halves("b.weight", {1}, std::vector<float>{65504});
  EXPECT_THAT(graph.initializer(0).dims(), ElementsAre(1));
}

}  // namespace
}  // namespace twofour
