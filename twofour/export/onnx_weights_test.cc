#include "twofour/export/onnx_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "twofour/base/error.h"
#include "twofour/export/graph_builder.h"
#include "twofour/export/testing.h"

namespace twofour {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A graph by hand, with the input "x".
struct Model {
  onnx::ModelProto model;
  OnnxGraphBuilder graph{*model.mutable_graph()};

  onnx::TensorProto& tensor(const std::string& name, int type, const std::vector<int64_t>& dims) {
    onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (int64_t dim : dims) tensor.add_dims(dim);
    return tensor;
  }
  fs::path write() const {
    const fs::path path = scratch("model.onnx");
    write_file_atomically(path, model.SerializeAsString());
    return path;
  }
  std::vector<WeightReport> inspect() const { return inspect_onnx(write()); }
};

// value(row, place along k) of [n, k], or of [k, n].
std::vector<float> matrix(int64_t n, int64_t k, bool k_first,
                          const std::function<float(int64_t, int64_t)>& value) {
  std::vector<float> out;
  for (int64_t i = 0; i < (k_first ? k : n); ++i) {
    for (int64_t j = 0; j < (k_first ? n : k); ++j)
      out.push_back(k_first ? value(j, i) : value(i, j));
  }
  return out;
}

float two_of_four(int64_t, int64_t k) { return k % 4 < 2 ? 0.5f : 0.0f; }

TEST(OnnxWeights, EachNodeHasItsGroupsAlongWhatItSumsUp) {
  Model m;
  std::vector<float> conv;
  for (int64_t i = 0; i < int64_t{16} * 8 * 9; ++i) conv.push_back(two_of_four(0, i / 9 % 8));
  m.graph.node("Conv", "a", {"x", m.graph.floats("conv.weight", {16, 8, 3, 3}, conv)},
               {{"group", int64_t{2}}});
  m.graph.node("Gemm", "b", {"x", m.graph.floats("nk", {4, 16}, matrix(4, 16, false, two_of_four))},
               {{"transB", int64_t{1}}});
  m.graph.node("Gemm", "c", {"x", m.graph.floats("kn", {16, 4}, matrix(4, 16, true, two_of_four))});
  m.graph.node("MatMul", "d",
               {"x", m.graph.halves("right", {16, 4}, matrix(4, 16, true, two_of_four))});
  m.graph.node("MatMul", "e",
               {m.graph.floats("left", {4, 16}, matrix(4, 16, false, two_of_four)), "x"});
  m.graph.node("MatMul", "f", {"d", "e"});  // no constant
  m.graph.node("MatMul", "g", {"x", "right"});
  const auto reports = m.inspect();
  ASSERT_EQ(reports.size(), 5u);
  EXPECT_EQ(reports[0].name, "conv.weight");
  EXPECT_EQ(reports[0].op, "Conv");
  EXPECT_EQ(reports[0].conv, (ConvShape{16, 8, 3, 3, 2}));
  EXPECT_EQ(reports[0].counts.groups_2_4, 16 * 2 * 9);
  EXPECT_TRUE(reports[0].is_sparse());
  for (size_t i = 1; i < reports.size(); ++i) {
    EXPECT_EQ(reports[i].conv, (ConvShape{4, 16, 1, 1, 1})) << reports[i].name;
    EXPECT_EQ(reports[i].counts.groups_2_4, 16) << reports[i].name;
    EXPECT_TRUE(reports[i].is_sparse()) << reports[i].name;
  }
  EXPECT_EQ(reports[2].shape, (Shape{16, 4}));
  EXPECT_EQ(reports[3].type, "F16");
}

// The third of four is a zero after rounding, save where the scale is fine.
TEST(OnnxWeights, FloatsAreCountedAsTheyAreQuantized) {
  const auto value = [](int64_t, int64_t k) {
    return k % 4 == 3 ? 0.0f : k % 4 == 2 ? 0.001f : 0.5f;
  };
  const auto count = [&](const std::vector<float>& scales, bool per_row) {
    Model m;
    const std::vector<int8_t> zeros(scales.size(), 0);
    const auto size = static_cast<int64_t>(scales.size());
    const std::vector<int64_t> dims = per_row ? std::vector{size} : std::vector<int64_t>{};
    m.graph.floats("w", {4, 8}, matrix(4, 8, false, value));
    m.graph.floats("scale", dims, scales);
    m.graph.int8s("zero", dims, zeros);
    const std::vector<OnnxAttribute> axis{{"axis", int64_t{0}}};
    m.graph.node("QuantizeLinear", "q", {"w", "scale", "zero"}, axis);
    m.graph.node("DequantizeLinear", "dq", {"q", "scale", "zero"}, axis);
    m.graph.node("Gemm", "y", {"x", "dq"}, {{"transB", int64_t{1}}});
    const auto reports = m.inspect();
    EXPECT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports.at(0).name, "w");
    EXPECT_EQ(reports.at(0).type, "I8");
    return reports.at(0).counts.groups_2_4;
  };
  EXPECT_EQ(count({0.01f}, false), 8);
  EXPECT_EQ(count({0.01f, 0.01f, 0.0001f, 0.01f}, true), 6);
  EXPECT_EQ(count({0.0001f}, false), 0);
}

TEST(OnnxWeights, IntegersAreZeroAtTheirZeroPoint) {
  Model m;
  onnx::TensorProto& weight = m.tensor("w", onnx::TensorProto::UINT8, {4, 8});
  for (float value : matrix(4, 8, false, two_of_four)) weight.add_int32_data(value > 0 ? 200 : 128);
  m.graph.node("DequantizeLinear", "dq", {"w", m.graph.scalar(0.5f), m.graph.uint8(128)});
  m.graph.node("Transpose", "turned", {"dq"}, {{"perm", std::vector<int64_t>{1, 0}}});
  m.graph.node("MatMul", "y", {"x", "turned"});
  const auto reports = m.inspect();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].type, "U8");
  EXPECT_EQ(reports[0].shape, (Shape{8, 4}));
  EXPECT_EQ(reports[0].conv, (ConvShape{4, 8, 1, 1, 1}));
  EXPECT_EQ(reports[0].counts.zeros, 16);
  EXPECT_TRUE(reports[0].is_sparse());
}

// The integers that export --report gives.
TEST(OnnxWeights, ExportedFilesHaveTheCountsOfTheirReport) {
  const fs::path model = int8_model();
  for (const std::string form : {"matmul", "convolution", "plugin", "external"}) {
    ExportRequest wanted = request(model, "tensorrt");
    wanted.gemm_as_conv = form == "convolution";
    wanted.plugin = form == "plugin";
    wanted.external_data = form == "external";
    const ExportSummary summary = run_export(wanted);
    const auto reports = inspect_onnx(wanted.out);
    for (const WrittenLayer& layer : summary.layers) {
      const auto found = std::ranges::find(reports, layer.name + ".weight", &WeightReport::name);
      ASSERT_NE(found, reports.end()) << form << ' ' << layer.name;
      EXPECT_EQ(found->type, dtype_name(layer.dtype)) << form << ' ' << layer.name;
      EXPECT_EQ(found->conv.out, layer.n);
      EXPECT_EQ(found->conv.in, layer.k);
      EXPECT_EQ(found->counts.zeros, layer.zeros);
      EXPECT_EQ(found->counts.groups_of_four, layer.groups);
      EXPECT_EQ(found->counts.groups_2_4, layer.groups_2_4) << form << ' ' << layer.name;
    }
  }
}

TEST(OnnxWeights, WhatIsNotCountedSaysWhy) {
  Model m;
  // As many scales as columns, but by block.
  m.graph.int8s("values", {4, 8}, std::vector<int8_t>(32, 1));
  m.graph.floats("scales", {4, 2}, std::vector<float>(8, 0.5f));
  m.graph.node("DequantizeLinear", "blocks", {"values", "scales"},
               {{"axis", int64_t{1}}, {"block_size", int64_t{4}}});
  m.graph.node("MatMul", "d", {"x", "blocks"});
  m.tensor("wide", onnx::TensorProto::INT64, {4, 4});
  m.graph.node("MatMul", "a", {"x", "wide"});
  m.graph.node("MatMul", "b", {"x", m.graph.floats("many", {2, 2, 4}, std::vector<float>(16))});
  m.graph.node("Conv", "c", {"x", m.graph.floats("line", {4, 4, 3}, std::vector<float>(48))});
  const auto reports = m.inspect();
  ASSERT_EQ(reports.size(), 4u);
  EXPECT_EQ(reports[0].dense, "its scales or zero points are neither of the whole nor of an axis");
  EXPECT_EQ(reports[1].type, "ONNX type 7");
  EXPECT_EQ(reports[1].dense, "values of this type are not counted");
  EXPECT_EQ(reports[2].dense, "[2, 2, 4] is no matrix");
  EXPECT_THAT(reports[3].dense, HasSubstr("expected four dimensions of a convolution"));
  for (const WeightReport& report : reports) EXPECT_FALSE(report.is_sparse()) << report.name;
}

// Each node reads the one before it three times: 3^16 ways to the tensor.
TEST(OnnxWeights, AFileCannotMakeThemSearchedForEver) {
  Model m;
  std::string last = m.graph.floats("w", {1, 1}, std::vector{1.0f});
  for (const char* name :
       {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"}) {
    m.graph.node("DequantizeLinear", name, {last, last, last});
    last = name;
  }
  m.graph.node("MatMul", "y", {"x", last});
  const auto reports = m.inspect();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_THAT(reports[0].dense, HasSubstr("its scales or zero points"));
}

TEST(OnnxWeights, RefusesDamagedFiles) {
  const auto refuses = [](const fs::path& path, const std::string& message) {
    EXPECT_THAT([&] { inspect_onnx(path); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  const fs::path path = scratch("damaged.onnx");
  write_file_atomically(path, "no model");
  refuses(path, "damaged.onnx] is no ONNX model");
  write_file_atomically(path, "");
  refuses(path, "is no ONNX model");
  refuses(path.string() + ".none", "cannot be read");

  Model m;
  m.tensor("short", onnx::TensorProto::FLOAT, {4, 4}).set_raw_data("1234");
  m.graph.node("MatMul", "y", {"x", "short"});
  refuses(m.write(),
          "model.onnx: short] the size of F32 [4, 4] in bytes is 64, but the file holds 4");
}

TEST(OnnxWeights, ExternalDataMustBeThereAndInside) {
  ExportRequest wanted = request(int8_model(), "tensorrt");
  wanted.external_data = true;
  const ExportSummary summary = run_export(wanted);
  const auto inspect = [&] { inspect_onnx(wanted.out); };
  fs::resize_file(summary.data, 5000);
  EXPECT_THAT(inspect, ThrowsMessage<Error>(HasSubstr("but its size is 5000")));
  fs::remove(summary.data);
  EXPECT_THAT(inspect, ThrowsMessage<Error>(AllOf(HasSubstr("cannot be read"),
                                                  HasSubstr("Keep the model's files together"))));
  Model m;
  onnx::TensorProto& weight = m.tensor("w", onnx::TensorProto::FLOAT, {4, 4});
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  onnx::StringStringEntryProto& entry = *weight.add_external_data();
  entry.set_key("location");
  entry.set_value("../elsewhere");
  m.graph.node("MatMul", "y", {"x", "w"});
  EXPECT_THAT([&] { m.inspect(); },
              ThrowsMessage<Error>(HasSubstr("\"../elsewhere\" are not in the model's folder")));
}

}  // namespace
}  // namespace twofour
