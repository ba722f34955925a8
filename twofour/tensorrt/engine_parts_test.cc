// The engine builder's parts that need no TensorRT: profiles, files and keys, the inspector's JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/io/file.h"
#include "twofour/tensorrt/engine_file.h"
#include "twofour/tensorrt/engine_layers.h"
#include "twofour/tensorrt/onnx_file.h"
#include "twofour/tensorrt/onnx_origin.h"
#include "twofour/tensorrt/profile.h"
#include "twofour/tensorrt/testing_onnx.h"

namespace twofour::tensorrt {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const std::vector<NetworkInput> kInputs{
    {"input_ids", {-1, -1}}, {"attention_mask", {-1, -1}}, {"token_type_ids", {-1, -1}}};

TEST(Profile, RangesAreOneNumberOrThree) {
  EXPECT_EQ(parse_range("--batch", "8"), (DimensionRange{8, 8, 8}));
  EXPECT_EQ(parse_range("--batch", "1,8,32"), (DimensionRange{1, 8, 32}));
  EXPECT_EQ(parse_range("--batch", "4,4,4"), (DimensionRange{4, 4, 4}));
  EXPECT_EQ(to_string(parse_range("--batch", "1,8,32")), "1,8,32");
  for (const char* bad : {"", "0", "-1", "1,2", "8,1,32", "1,8,", "1,8,32,64", "1;8;32", "a",
                          "99999999999999999999"}) {
    EXPECT_THAT([&] { parse_range("--batch", bad); }, ThrowsMessage<Error>(HasSubstr("[--batch]")))
        << bad;
  }
}

TEST(Profile, EveryInputHasBatchAndLength) {
  const auto profiles = choose_profile("a.onnx", kInputs, {1, 8, 32}, {16, 128, 512});
  ASSERT_EQ(profiles.size(), 3u);
  for (const InputProfile& profile : profiles) {
    EXPECT_THAT(profile.min, ElementsAre(1, 16));
    EXPECT_THAT(profile.opt, ElementsAre(8, 128));
    EXPECT_THAT(profile.max, ElementsAre(32, 512));
  }
}

TEST(Profile, FilesThatAreNotOursAreRefused) {
  const auto refuse = [](std::vector<NetworkInput> inputs, const std::string& message) {
    EXPECT_THAT([&] { choose_profile("a.onnx", inputs, {}, {}); },
                ThrowsMessage<Error>(
                    AllOf(HasSubstr("[a.onnx]"), HasSubstr(message), HasSubstr("twofour export"))));
  };
  refuse({}, "has no inputs");
  refuse({{"image", {-1, 3, 224, 224}}}, "has an input 'image', expected input_ids,");
  refuse({{"input_ids", {1, 128}}}, "'input_ids' is [1, 128], expected two dynamic dimensions");
  refuse({{"input_ids", {-1, 128}}}, "'input_ids' is [-1, 128]");
}

class EngineFileTest : public FolderTest {
 protected:
  void edit_key(const std::function<void(nlohmann::json&)>& change) {
    auto json = nlohmann::json::parse(read_file(key_path(plan_)));
    change(json);
    write_file_atomically(key_path(plan_), json.dump());
  }

  fs::path plan_ = folder_ / "model.plan";
  EngineKey key_{{"Fake H100", "9.0", "10.3.0"},
                 "0123456789abcdef",
                 "a-model",
                 {1, 8, 32},
                 {16, 128, 512},
                 true};
};

TEST_F(EngineFileTest, IsFreshOnlyForItsOwnKey) {
  EXPECT_EQ(why_stale(plan_, key_), "it is not there");
  write_engine(plan_, "plan", key_);
  EXPECT_EQ(read_file(plan_), "plan");
  EXPECT_EQ(why_stale(plan_, key_), std::nullopt);
  const auto stale = [&](const std::function<void(EngineKey&)>& change) {
    EngineKey other = key_;
    change(other);
    return why_stale(plan_, other).value_or("fresh");
  };
  EXPECT_EQ(stale([](EngineKey& k) { k.place.gpu = "Fake A100"; }),
            "gpu was Fake H100, now it is Fake A100");
  EXPECT_EQ(stale([](EngineKey& k) { k.place.tensorrt = "10.4.0"; }),
            "tensorrt was 10.3.0, now it is 10.4.0");
  EXPECT_THAT(stale([](EngineKey& k) { k.onnx = "f"; }), HasSubstr("onnx was"));
  EXPECT_EQ(stale([](EngineKey& k) { k.batch.max = 64; }), "batch was 1,8,32, now it is 1,8,64");
  EXPECT_EQ(stale([](EngineKey& k) { k.length.min = 1; }),
            "length was 16,128,512, now it is 1,128,512");
  EXPECT_EQ(stale([](EngineKey& k) { k.sparse = false; }), "sparse was true, now it is false");
  EXPECT_THAT(stale([](EngineKey& k) { k.place.capability = "8.0"; }),
              HasSubstr("capability was 9.0"));
}

TEST_F(EngineFileTest, WhatWasAlteredIsStale) {
  write_engine(plan_, "plan", key_);
  write_file_atomically(plan_, "plan of another");
  EXPECT_EQ(why_stale(plan_, key_), "its bytes are not those that were built");
  write_engine(plan_, "plan", key_);
  edit_key([](nlohmann::json& json) { json.erase("gpu"); });
  EXPECT_EQ(why_stale(plan_, key_), "its key lacks 'gpu'");
  write_file_atomically(key_path(plan_), "[");
  EXPECT_EQ(why_stale(plan_, key_), "its key is no JSON object");
  fs::remove(key_path(plan_));
  EXPECT_EQ(why_stale(plan_, key_), "it has no key beside it");
}

TEST_F(EngineFileTest, RunsWhereItWasBuiltAndForItsModelAlone) {
  write_engine(plan_, "plan", key_);
  EXPECT_EQ(read_engine(plan_, key_.place, "a-model"), "plan");
  const auto refused = [&](const EnginePlace& place, const std::string& model) {
    return error_of([&] { read_engine(plan_, place, model); });
  };
  EXPECT_THAT(
      refused({"Fake A100", "8.0", "10.3.0"}, "a-model"),
      AllOf(HasSubstr("model.plan] cannot run here: gpu was Fake H100, now it is Fake A100"),
            HasSubstr("twofour build-engine")));
  EXPECT_THAT(refused({"Fake H100", "9.0", "10.4.0"}, "a-model"),
              HasSubstr("tensorrt was 10.3.0, now it is 10.4.0"));
  EXPECT_THAT(refused(key_.place, "another"), HasSubstr("model was a-model, now it is another"));
  write_file_atomically(plan_, "plan of another");
  EXPECT_THAT(refused(key_.place, "a-model"), HasSubstr("its bytes are not those"));
  edit_key([](nlohmann::json& json) { json.erase("model"); });
  EXPECT_THAT(refused(key_.place, "a-model"), HasSubstr("its key lacks 'model'"));
  fs::remove(plan_);
  EXPECT_THAT(refused(key_.place, "a-model"), HasSubstr("it is not there"));
}

// A plan is never beside a key that is not its own, whatever fails.
TEST_F(EngineFileTest, AFailedWriteLeavesNoKeyBehind) {
  write_engine(plan_, "plan", key_);
  fs::remove(plan_);
  fs::create_directories(plan_ / "in the way");
  EXPECT_THROW(write_engine(plan_, "new", key_), Error);
  EXPECT_FALSE(fs::exists(key_path(plan_)));
}

TEST_F(EngineFileTest, TheChecksumReadsExternalDataToo) {
  const fs::path onnx = folder_ / "model.onnx";
  write_file_atomically(onnx, "graph");
  const std::string alone = onnx_checksum(onnx);
  EXPECT_EQ(alone.size(), 16u);
  write_file_atomically(onnx.string() + ".data", "weights");
  const std::string both = onnx_checksum(onnx);
  EXPECT_NE(both, alone);
  write_file_atomically(onnx.string() + ".data", "Weights");
  EXPECT_NE(onnx_checksum(onnx), both);
  EXPECT_THROW(onnx_checksum(folder_ / "none.onnx"), Error);
}

TEST_F(EngineFileTest, AnOnnxFileSaysOfWhichModelItIs) {
  const fs::path onnx = folder_ / "model.onnx";
  const auto model_of = [&](const std::string& bytes) {
    write_file_atomically(onnx, bytes);
    return exported_model(onnx);
  };
  const auto property = [](const std::string& key, const std::string& value) {
    return bytes_field(14, bytes_field(1, key) + bytes_field(2, value));
  };
  const std::string version = number_field(1, 128);
  const std::string ours = property("twofour", R"({"model": "0123"})");
  const std::string other = property("other", R"({"model": "4567"})");
  EXPECT_EQ(model_of(version + bytes_field(7, "a graph") + other + ours), "0123");
  EXPECT_EQ(model_of(ours.substr(0, ours.size() - 1)), "unknown");
  EXPECT_EQ(model_of(property("twofour", "{}")), "unknown");
  for (const std::string& no_export : {other, std::string("graph"), std::string(), version})
    EXPECT_EQ(model_of(no_export), "unknown");
  EXPECT_THROW(exported_model(folder_ / "none.onnx"), Error);
}

class OnnxFileTest : public FolderTest {
 protected:
  std::string refusal(const std::string& bytes) {
    write_file_atomically(onnx_, bytes);
    return error_of([&] { check_onnx(onnx_); });
  }

  fs::path onnx_ = folder_ / "model.onnx";
};

TEST_F(OnnxFileTest, TellsOpsetInputsAndNodes) {
  const std::string weight = bytes_field(5, bytes_field(8, "w"));  // which is an input too
  const std::string other = bytes_field(8, bytes_field(1, "trt.plugins") + number_field(2, 1));
  EXPECT_EQ(refusal(onnx_model(17, our_graph() + onnx_input("w", {4, 4}) + weight) + other),
            "no error");
  const OnnxFile file = read_onnx(onnx_);
  EXPECT_EQ(file.opset, 17);
  ASSERT_EQ(file.inputs.size(), 3u);
  EXPECT_EQ(file.inputs[1].name, "attention_mask");
  EXPECT_THAT(file.inputs[1].dims, ElementsAre(-1, -1));
  EXPECT_EQ(node_text(file, 1), "node 1 (MatMul 'a/MatMul')");
  EXPECT_EQ(node_text(file, 2), "node 2");
  EXPECT_EQ(node_text(file, -1), "node -1");
}

TEST_F(OnnxFileTest, FilesThatAreNotOursAreRefused) {
  const std::string ours = onnx_model(17, our_graph());
  for (const std::string& bytes : {std::string(), std::string("graph"), number_field(1, 8),
                                   ours.substr(0, ours.size() - 1), bytes_field(7, "a graph")}) {
    EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("model.onnx] is no ONNX model, or it is damaged"),
                                      HasSubstr("twofour export")));
  }
  EXPECT_THAT(refusal(onnx_model(16, our_graph())),
              AllOf(HasSubstr("model.onnx] its operator set is 16, expected 17 or later"),
                    HasSubstr("twofour export")));
  EXPECT_THAT(refusal(onnx_model(17, onnx_input("image", {-1, 3, 224, 224}))),
              HasSubstr("has an input 'image', expected input_ids,"));
  EXPECT_THAT(refusal(onnx_model(17, onnx_input("input_ids", {-1, 128}))),
              HasSubstr("'input_ids' is [-1, 128], expected two dynamic dimensions"));
  EXPECT_THAT(refusal(onnx_model(17, onnx_node("MatMul", "a"))), HasSubstr("has no inputs"));
  EXPECT_THROW(check_onnx(folder_ / "none.onnx"), Error);
}

// In the form that TensorRT 10 gives with detailed verbosity.
constexpr const char* kInspector = R"({"Layers": [{
  "Name": "Reformatting CopyNode for Input Tensor 0 to encoder.layer.0.attention.self.query/Conv",
  "LayerType": "Reformat",
  "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [8,384,128,1], "Format/Datatype": "Row major linear FP32"}],
  "Outputs": [{"Name": "y", "Location": "Device", "Dimensions": [8,384,128,1], "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
  "ParameterType": "Reformat", "Origin": "REFORMAT", "TacticValue": "0x00000000000003e8", "StreamId": 0, "Metadata": ""
},{
  "Name": "encoder.layer.0.attention.self.query.weight + encoder.layer.0.attention.self.query/Conv",
  "LayerType": "CaskConvolution",
  "Inputs": [], "Outputs": [],
  "ParameterType": "Convolution", "Kernel": [1,1], "OutMaps": 384, "Groups": 1,
  "Weights": {"Type": "Int8", "Count": 147456}, "HasBias": 1, "HasReLU": 0, "HasSparseWeights": 1,
  "TacticName": "sm80_xmma_fprop_sparse_conv_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32_tilesize128x128x128_stage3_warpsize2x2x1_g1_sptensor16x8x64_t1r1s1",
  "TacticValue": "0x4727434768e46395", "StreamId": 0,
  "Metadata": "[ONNX Layer: encoder.layer.0.attention.self.query/DequantizeWeight]\u001e[ONNX Layer: encoder.layer.0.attention.self.query/Conv]"
},{
  "Name": "encoder.layer.0.attention.self.key/Conv",
  "LayerType": "CaskConvolution", "HasSparseWeights": 0,
  "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32_tilesize64x64x64_stage6_warpsize2x2x1_g1_tensor16x8x32_t1r1s1",
  "TacticValue": "0x48f8d75aa348d22f", "StreamId": 0,
  "Metadata": "[ONNX Layer: encoder.layer.0.attention.self.key/Conv]"
},{
  "Name": "encoder.layer.0.output.dense/MatMul_myl0_7",
  "LayerType": "gemm",
  "TacticName": "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize96x64x64_stage3_warpsize2x2x1_tensor16x8x32_fused",
  "StreamId": 0, "Metadata": "[ONNX Layer: encoder.layer.0.output.dense/MatMul]"
},{
  "Name": "encoder.layer.0.intermediate.dense/Spmm",
  "LayerType": "PluginV3", "PluginType": "SpmmPluginDynamic", "StreamId": 0,
  "Metadata": "[ONNX Layer: encoder.layer.0.intermediate.dense/Spmm]"
},{
  "Name": "__myl_Softmax_myl0_3", "LayerType": "kgen", "TacticName": "__myl_Softmax_0x2d1d44d", "Metadata": ""
}],
"Bindings": ["input_ids", "attention_mask", "token_type_ids", "logits"]
})";

TEST(EngineLayers, TellWhichProductsRunSparse) {
  const std::vector<EngineLayer> layers = parse_engine_layers(kInspector);
  ASSERT_EQ(layers.size(), 6u);
  std::vector<bool> sparse, product;
  for (const EngineLayer& layer : layers) {
    sparse.push_back(layer.sparse);
    product.push_back(layer.product());
  }
  EXPECT_THAT(sparse, ElementsAre(false, true, false, false, true, false));
  // The reformatting before a product is named after it.
  EXPECT_THAT(product, ElementsAre(false, true, true, true, true, false));
  EXPECT_THAT(layers[1].onnx_layers,
              ElementsAre("encoder.layer.0.attention.self.query/DequantizeWeight",
                          "encoder.layer.0.attention.self.query/Conv"));
  EXPECT_EQ(layers[2].type, "CaskConvolution");
  EXPECT_THAT(layers[2].tactic, HasSubstr("implicit_gemm"));
  EXPECT_TRUE(layers[4].plugin);
}

TEST(EngineLayers, RefuseWhatTellsNothing) {
  const auto parse = [](const char* json) { return [json] { parse_engine_layers(json); }; };
  EXPECT_THAT(parse(R"({"Layers": ["a", "b"], "Bindings": []})"),
              ThrowsMessage<Error>(HasSubstr("kDETAILED")));
  for (const char* bad : {"", "[]", "{}", R"({"Layers": 3})"})
    EXPECT_THAT(parse(bad), ThrowsMessage<Error>(HasSubstr("a list 'Layers'")));
  EXPECT_THAT(parse(R"({"Layers": [{}]})"),
              ThrowsMessage<Error>(HasSubstr("no object with a name")));
}

}  // namespace
}  // namespace twofour::tensorrt
