#include "twofour/tensorrt/spmm_definition.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "twofour/base/checksum.h"
#include "twofour/base/testing.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/tensorrt/spmm_state.h"
#include "twofour/tensorrt/testing.h"

namespace twofour::tensorrt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string refusal(const std::vector<PluginField>& fields) {
  return error_of([&] { parse_fields("layer.0", fields); });
}

PluginField& field(std::vector<PluginField>& fields, const char* name) {
  return *std::find_if(fields.begin(), fields.end(),
                       [&](const PluginField& f) { return f.name == name; });
}

TEST(SpmmFields, HoldTheWeightAsCanonical24) {
  for (const DType type : {DType::kI8, DType::kF16, DType::kBF16}) {
    const TestLayer layer(type);
    const SpmmDefinition d = parse_fields("layer.0", layer.fields());
    EXPECT_EQ(d.name, "layer.0");
    EXPECT_EQ(d.n, 32);
    EXPECT_EQ(d.k, 64);
    EXPECT_EQ(d.type, type);
    EXPECT_EQ(d.epilogue, Epilogue::kBias);
    EXPECT_EQ(d.max_m, 128);
    EXPECT_EQ(d.bucket_step, 16);
    EXPECT_EQ(d.output_type(), type == DType::kBF16 ? DType::kBF16 : DType::kF16);
    EXPECT_EQ(d.bias, layer.bias);
    EXPECT_EQ(d.weight_scale, layer.weight_scale);
    EXPECT_EQ(d.weight.values.shape(), (Shape{32, 32}));
    const Tensor dense = expand(d.weight);
    EXPECT_TRUE(std::equal(layer.weight.begin(), layer.weight.end(), dense.data()));
  }
}

TEST(SpmmFields, TextMayLackItsClosingZero) {
  const TestLayer layer;
  std::vector<PluginField> fields = layer.fields();
  --field(fields, spmm_node::kDtype).length;
  EXPECT_EQ(parse_fields("l", fields).type, DType::kI8);
}

TEST(SpmmFields, BucketsHaveDefaults) {
  const TestLayer layer;
  std::vector<PluginField> fields = layer.fields();
  std::erase_if(fields, [](const PluginField& f) {
    return f.name == spmm_node::kMaxM || f.name == spmm_node::kBucketStep;
  });
  const SpmmDefinition d = parse_fields("l", fields);
  EXPECT_EQ(d.max_m, 4096);
  EXPECT_EQ(d.bucket_step, 16);
}

TEST(SpmmFields, AMissingOneIsNamed) {
  const TestLayer layer;
  for (const char* name :
       {"n", "k", "type", "epilogue", "weight", "bias", "weight_scale", "input_scale"}) {
    std::vector<PluginField> fields = layer.fields();
    std::erase_if(fields, [&](const PluginField& f) { return f.name == name; });
    EXPECT_THAT(refusal(fields), AllOf(HasSubstr("[layer.0]"), HasSubstr("export --plugin"),
                                       HasSubstr(std::string("field '") + name + "' is missing")));
  }
}

TEST(SpmmFields, OneOfAnotherTypeIsNamed) {
  const TestLayer layer;
  for (const auto& [name, expected] :
       std::vector<std::pair<const char*, const char*>>{{"n", "INT32"},
                                                        {"max_m", "INT32"},
                                                        {"type", "CHAR"},
                                                        {"weight", "INT8"},
                                                        {"bias", "FLOAT32"},
                                                        {"input_scale", "FLOAT32"}}) {
    std::vector<PluginField> fields = layer.fields();
    field(fields, name).type = FieldType::kFloat64;
    EXPECT_THAT(refusal(fields),
                HasSubstr(std::string("field '") + name + "' is FLOAT64, expected " + expected));
  }
  std::vector<PluginField> fields = layer.fields();
  field(fields, "weight").type = static_cast<FieldType>(77);
  EXPECT_THAT(refusal(fields), HasSubstr("field 'weight' is of a type that this plug-in does not"));
}

TEST(SpmmFields, OneOfAnotherLengthIsNamed) {
  const TestLayer layer;
  for (const auto& [name, expected] : std::vector<std::pair<const char*, int>>{
           {"weight", 2048}, {"bias", 32}, {"weight_scale", 32}, {"input_scale", 1}, {"n", 1}}) {
    std::vector<PluginField> fields = layer.fields();
    field(fields, name).length = 7;
    EXPECT_THAT(refusal(fields),
                HasSubstr(fmt::format("field '{}' has 7 values, expected {}", name, expected)));
  }
  std::vector<PluginField> fields = layer.fields();
  field(fields, "bias").data = nullptr;
  EXPECT_THAT(refusal(fields), HasSubstr("field 'bias' has no data"));
}

TEST(SpmmFields, UnknownDoubledAndNeedlessOnesAreRefused) {
  const TestLayer layer;
  std::vector<PluginField> fields = layer.fields();
  fields.push_back({"beta", FieldType::kInt32, &layer.n, 1});
  EXPECT_THAT(refusal(fields), HasSubstr("field 'beta' is not known"));
  fields.back().name = "n";
  EXPECT_THAT(refusal(fields), HasSubstr("field 'n' is there twice"));
  const TestLayer none(DType::kF16, 32, 64, spmm_node::kNone);
  fields = none.fields();
  fields.push_back({"bias", FieldType::kFloat32, none.bias.data(), 32});
  EXPECT_THAT(refusal(fields), HasSubstr("field 'bias' goes with another epilogue"));
  fields.back() = {"input_scale", FieldType::kFloat32, none.bias.data(), 1};
  EXPECT_THAT(refusal(fields), HasSubstr("field 'input_scale' goes with type int8"));
}

TEST(SpmmFields, ValuesOutOfRangeAreRefused) {
  const auto with = [](auto change) {
    TestLayer layer;
    change(layer);
    return refusal(layer.fields());
  };
  EXPECT_THAT(with([](TestLayer& l) { l.n = 0; }), HasSubstr("field 'n' is 0, expected 1 to"));
  EXPECT_THAT(with([](TestLayer& l) { l.k = -4; }), HasSubstr("field 'k' is -4"));
  EXPECT_THAT(with([](TestLayer& l) { l.k = 48; }),
              HasSubstr("k is 48, expected a multiple of 32"));
  EXPECT_THAT(with([](TestLayer& l) { l.max_m = 0; }), HasSubstr("field 'max_m' is 0"));
  EXPECT_THAT(with([](TestLayer& l) { l.step = 24; }),
              HasSubstr("field 'bucket_step' is 24, expected a multiple of 16"));
  EXPECT_THAT(with([](TestLayer& l) { l.epilogue = "swish"; }),
              HasSubstr("'swish', expected one of: none, bias, bias_relu, bias_gelu"));
  EXPECT_THAT(with([](TestLayer& l) { l.type_name = "fp8"; }),
              HasSubstr("'fp8', expected one of: fp16, bf16, int8"));
  EXPECT_THAT(with([](TestLayer& l) { l.weight_scale[3] = 0; }),
              HasSubstr("field 'weight_scale' holds 0 at 3, expected a finite value > 0"));
  EXPECT_THAT(with([](TestLayer& l) { l.bias[1] = std::numeric_limits<float>::quiet_NaN(); }),
              HasSubstr("field 'bias' holds nan at 1"));
}

TEST(SpmmFields, AWeightThatIsNotSparseIsRefusedWithItsFirstGroup) {
  TestLayer layer;
  for (int i = 0; i < 3; ++i) layer.dense[5 * 64 + 8 + i] = 1;
  layer.store_weight();
  EXPECT_THAT(refusal(layer.fields()),
              AllOf(HasSubstr("[layer.0.weight]"), HasSubstr("5"), HasSubstr("8")));
}

TEST(SpmmState, HoldsEverything) {
  for (const DType type : {DType::kI8, DType::kF16, DType::kBF16}) {
    const TestLayer layer(type, 32, 64, spmm_node::kBiasRelu);
    const SpmmDefinition d = parse_fields("layer.0", layer.fields());
    const SpmmDefinition back = deserialize(serialize(d));
    EXPECT_EQ(back.name, d.name);
    EXPECT_EQ(back.n, d.n);
    EXPECT_EQ(back.k, d.k);
    EXPECT_EQ(back.type, d.type);
    EXPECT_EQ(back.epilogue, d.epilogue);
    EXPECT_EQ(back.max_m, d.max_m);
    EXPECT_EQ(back.bucket_step, d.bucket_step);
    EXPECT_EQ(back.bias, d.bias);
    EXPECT_EQ(back.weight_scale, d.weight_scale);
    EXPECT_EQ(back.input_scale, d.input_scale);
    const Tensor dense = expand(back.weight);
    EXPECT_TRUE(std::equal(layer.weight.begin(), layer.weight.end(), dense.data()));
    EXPECT_EQ(serialize(back), serialize(d));
  }
}

TEST(SpmmState, IsHalfTheWeightAndItsMetadata) {
  const TestLayer layer(DType::kF16, 256, 512, spmm_node::kNone);
  const SpmmDefinition d = parse_fields("layer.0", layer.fields());
  EXPECT_EQ(serialize(d).size(), 64 + 7 + 256 * 512 / 2 * 2 + 256 * 512 / 8 + 8u);
}

TEST(SpmmState, RefusalsSayWhy) {
  const TestLayer layer;
  const std::string bytes = serialize(parse_fields("layer.0", layer.fields()));
  const auto refusal = [](const std::string& bytes) {
    return error_of([&] { deserialize(bytes); });
  };
  EXPECT_THAT(refusal(""), HasSubstr("has 0 bytes, fewer than a header"));
  EXPECT_THAT(refusal(bytes.substr(0, 200)), HasSubstr("cut off or altered"));
  EXPECT_THAT(refusal(bytes + "more"), HasSubstr("cut off or altered"));
  std::string other = bytes;
  other[0] = 'x';
  EXPECT_THAT(refusal(other), HasSubstr("is not one of twofour's"));
  other = bytes;
  other[8] = 2;
  EXPECT_THAT(refusal(other), AllOf(HasSubstr("version 2, expected 1"), HasSubstr("ONNX file")));
  other = bytes;
  other[300] ^= 4;
  EXPECT_THAT(refusal(other), HasSubstr("its checksum differs"));
}

// Bytes that somebody made up, with a right checksum.
std::string forged(std::string bytes, size_t at, uint8_t value) {
  bytes[at] = static_cast<char>(value);
  bytes.resize(bytes.size() - sizeof(uint64_t));
  const uint64_t sum = checksum64(bytes);
  bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  return bytes;
}

TEST(SpmmState, ForgedHeadersAreRefused) {
  const TestLayer layer;
  const std::string bytes = serialize(parse_fields("layer.0", layer.fields()));
  EXPECT_EQ(error_of([&] { deserialize(forged(bytes, 0, '2')); }), "no error");
  for (size_t at = 12; at < 60; ++at) {
    if (at >= 40 && at < 60) continue;  // max_m, bucket_step and input_scale have many values
    for (const uint8_t value : {0x7f, 0xff}) {
      EXPECT_THAT(error_of([&] { deserialize(forged(bytes, at, value)); }), testing::Ne("no error"))
          << at;
    }
  }
}

}  // namespace
}  // namespace twofour::tensorrt
