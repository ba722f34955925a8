#include "twofour/export/written_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/base/error.h"
#include "twofour/export/testing.h"

namespace twofour {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

onnx::TensorProto& weight_of(Exported& exported, const std::string& layer) {
  for (auto& tensor : *exported.model.mutable_graph()->mutable_initializer()) {
    if (tensor.name() == layer + ".weight") return tensor;
  }
  throw std::runtime_error("no such weight");
}

Network network_of(const fs::path& model) {
  return build_network(ModelDirectory::open(model).config());
}

const WrittenLayer& layer_named(const std::vector<WrittenLayer>& layers, const std::string& name) {
  for (const WrittenLayer& layer : layers) {
    if (layer.name == name) return layer;
  }
  throw std::runtime_error("no such layer");
}

std::string reason(const WrittenLayer& layer, const std::string& engine) {
  for (const Eligibility& e : layer.engines) {
    if (e.engine == engine) return e.reason;
  }
  return "not asked";
}

ExportRequest form(const fs::path& model, bool convolutions) {
  ExportRequest wanted = request(model, "tensorrt");
  wanted.gemm_as_conv = convolutions;
  return wanted;
}

TEST(WrittenLayers, CountEveryGroupOfBothForms) {
  const fs::path path = int8_model();
  for (const bool convolutions : {false, true}) {
    const Exported exported(form(path, convolutions));
    ASSERT_EQ(exported.summary.layers.size(), 14u);
    for (const WrittenLayer& layer : exported.summary.layers) {
      EXPECT_EQ(layer.groups, layer.n * layer.k / 4) << layer.name;
      const bool head = layer.name == "pooler.dense" || layer.name == "classifier";
      EXPECT_EQ(layer.sparse, !head) << layer.name;
      const auto form = convolutions && !head ? LayerForm::kConvolution : LayerForm::kMatMul;
      EXPECT_EQ(layer.form, form) << layer.name;
      EXPECT_EQ(reason(layer, "tensorrt"), head ? "head: stays dense" : "") << layer.name;
      EXPECT_EQ(reason(layer, "cusparselt"), head ? "head: stays dense" : "") << layer.name;
    }
  }
}

// A group of four lies along k: n apart as [k, n], side by side as [n, k, 1, 1].
TEST(WrittenLayers, OneGroupTooFullIsFound) {
  const fs::path path = int8_model();
  for (const bool convolutions : {false, true}) {
    Exported exported(form(path, convolutions));
    onnx::TensorProto& weight = weight_of(exported, kQuery);
    const int64_t n = convolutions ? weight.dims(0) : weight.dims(1);
    const int64_t k = convolutions ? weight.dims(1) : weight.dims(0);
    for (int64_t j = 8; j < 12; ++j)  // of output 3
      (*weight.mutable_raw_data())[convolutions ? 3 * k + j : j * n + 3] = 5;
    const auto layers = written_layers(network_of(path), exported.model.graph());
    const WrittenLayer& query = layer_named(layers, kQuery);
    EXPECT_EQ(query.groups_2_4, query.groups - 1);
    EXPECT_FALSE(query.sparse);
    EXPECT_EQ(reason(query, "tensorrt"),
              "1 of 256 groups of four have more than two non-zero values, the first at [3, 8]");
    EXPECT_TRUE(layer_named(layers, kOutput).sparse);
  }
}

TEST(WrittenLayers, DenseLayersTellHowManyGroupsAreTooFull) {
  const Exported exported(form(golden("cross-encoder"), true));
  const WrittenLayer& query = layer_named(exported.summary.layers, kQuery);
  EXPECT_EQ(query.dtype, DType::kF32);
  EXPECT_LT(query.groups_2_4, query.groups);
  EXPECT_THAT(reason(query, "tensorrt"), HasSubstr("groups of four have more than two"));
}

TEST(WrittenLayers, RefusesAWeightThatIsAbsentOrShort) {
  const fs::path path = int8_model();
  Exported exported(form(path, false));
  weight_of(exported, kOutput).mutable_raw_data()->pop_back();
  const auto count = [&] { written_layers(network_of(path), exported.model.graph()); };
  EXPECT_THAT(count, ThrowsMessage<Error>(AllOf(HasSubstr(kOutput), HasSubstr("expected 2048"))));
  weight_of(exported, kQuery).set_name("another");
  EXPECT_THAT(count, ThrowsMessage<Error>(AllOf(HasSubstr(kQuery), HasSubstr("not in the graph"))));
}

}  // namespace
}  // namespace twofour
