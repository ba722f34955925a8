#include "twofour/graph/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "twofour/base/testing.h"
#include "twofour/graph/head.h"
#include "twofour/graph/inspect.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

ModelConfig small_config(HeadKind head = HeadKind::kNone) {
  ModelConfig c;
  c.model_type = "bert";
  c.vocab_size = 20;
  c.hidden_size = 8;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.intermediate_size = 12;
  c.max_position_embeddings = 16;
  c.type_vocab_size = 2;
  c.hidden_act = "gelu";
  c.head = head;
  c.num_labels = head == HeadKind::kClassification ? 3 : 0;
  return c;
}

std::vector<std::string> op_names(const Network& network, size_t first, size_t count) {
  std::vector<std::string> names;
  for (size_t i = first; i < first + count; ++i) names.push_back(network.ops[i].name);
  return names;
}

TEST(Bert, OrderAndNamesOfALayer) {
  const Network network = build_network(small_config());
  ASSERT_EQ(network.ops.size(), 2u + 2 * 12);
  EXPECT_THAT(
      op_names(network, 0, 14),
      ElementsAre("embeddings", "embeddings.LayerNorm", "encoder.layer.0.attention.self.query",
                  "encoder.layer.0.attention.self.key", "encoder.layer.0.attention.self.value",
                  "encoder.layer.0.attention.self", "encoder.layer.0.attention.output.dense",
                  "encoder.layer.0.attention.output.add",
                  "encoder.layer.0.attention.output.LayerNorm",
                  "encoder.layer.0.intermediate.dense", "encoder.layer.0.intermediate.activation",
                  "encoder.layer.0.output.dense", "encoder.layer.0.output.add",
                  "encoder.layer.0.output.LayerNorm"));
  const Op& query = network.ops[2];
  EXPECT_TRUE(query.prunable);
  EXPECT_EQ(network.parameter(query, 0).name, "encoder.layer.0.attention.self.query.weight");
  EXPECT_EQ(network.parameter(network.ops[9], 0).shape, (Shape{12, 8}));
  EXPECT_EQ(network.hidden_states.size(), 3u);
  EXPECT_EQ(network.output, network.hidden_states.back());
  EXPECT_EQ(network.values[network.last_q].name, "encoder.layer.1.attention.self.query");
}

TEST(Bert, QuantizationPointsBelongToValues) {
  const Network network = build_network(small_config());
  std::vector<std::string> names;
  for (const QuantPoint& point : network.quant_points) names.push_back(point.name);
  EXPECT_THAT(
      names,
      ElementsAre("embeddings.LayerNorm", "encoder.layer.0.attention.context",
                  "encoder.layer.0.attention.output.LayerNorm",
                  "encoder.layer.0.intermediate.activation", "encoder.layer.0.output.LayerNorm",
                  "encoder.layer.1.attention.context", "encoder.layer.1.attention.output.LayerNorm",
                  "encoder.layer.1.intermediate.activation"));
  for (const Op& op : network.ops) {
    EXPECT_TRUE(!op.prunable || network.values[op.inputs[0]].quant_point >= 0) << op.name;
  }
  for (int i : {3, 4}) EXPECT_EQ(network.ops[i].inputs, network.ops[2].inputs);
}

TEST(Bert, Heads) {
  const Network classifier = build_network(small_config(HeadKind::kClassification));
  EXPECT_THAT(op_names(classifier, 26, 4),
              ElementsAre("pooler.first", "pooler.dense", "pooler.activation", "classifier"));
  EXPECT_EQ(classifier.values[classifier.output].width, 3);
  EXPECT_EQ(classifier.values[classifier.output].rows, Rows::kSequences);
  EXPECT_EQ(classifier.ops[28].activation, ActivationKind::kTanh);
  EXPECT_FALSE(classifier.ops[27].prunable);

  ModelConfig config = small_config(HeadKind::kTokenClassification);
  config.num_labels = 5;
  const Network tokens = build_network(config);
  EXPECT_THAT(op_names(tokens, 26, 1), ElementsAre("classifier"));
  EXPECT_EQ(tokens.values[tokens.output].width, 5);
  EXPECT_EQ(tokens.values[tokens.output].rows, Rows::kTokens);
  EXPECT_FALSE(tokens.ops[26].prunable);

  config = small_config(HeadKind::kEmbedding);
  config.normalize = true;
  const Network embedding = build_network(config);
  EXPECT_THAT(op_names(embedding, 26, 2), ElementsAre("pooling", "normalize"));
}

TEST(Bert, RefusesWhatItCannotBuild) {
  ModelConfig config = small_config();
  config.model_type = "gpt2";
  EXPECT_EQ(error_of([&] { build_network(config); }),
            "[config.json] model_type 'gpt2' is not supported. Supported: bert");
  config.origin = "other/config.json";
  EXPECT_THAT(error_of([&] { build_network(config); }),
              HasSubstr("[other/config.json] model_type"));
  config = small_config();
  config.hidden_act = "swish";
  EXPECT_THAT(error_of([&] { build_network(config); }),
              HasSubstr("hidden_act 'swish' is not supported. Supported: gelu, gelu_new"));
  config = small_config();
  config.num_attention_heads = 3;
  EXPECT_THAT(error_of([&] { build_network(config); }),
              HasSubstr("hidden_size 8 is not a multiple"));
  config = small_config();
  config.num_hidden_layers = 0;
  EXPECT_THAT(error_of([&] { build_network(config); }), HasSubstr("num_hidden_layers is 0"));
}

constexpr const char* kConfig = R"({"model_type": "bert", "architectures": ["BertModel"],
  "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
  "intermediate_size": 12, "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu")";
constexpr const char* kQuantization =
    R"("quantization_config": {"quant_method": "compressed-tensors",
  "format": "int-quantized", "config_groups": {"group_0": {
    "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false},
    "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "tensor",
                          "dynamic": false}}}})";

// A model directory of small_config with every tensor 0.5, changed by tests.
class Parameters : public FolderTest {
 protected:
  void SetUp() override {
    for (const Parameter& parameter : network_.parameters)
      set(parameter.name, parameter.shape, 0.5f);
  }

  void set(const std::string& name, const Shape& shape, float value) {
    Tensor tensor(DType::kF32, shape);
    for (float& element : tensor.as<float>()) element = value;
    tensors_[name] = std::move(tensor);
  }

  ModelDirectory write() const {
    const std::string quantization = int8_ ? std::string(", ") + kQuantization : "";
    write_file_atomically(folder_ / "config.json", kConfig + quantization + "}");
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors_) named.push_back({name, tensor.view()});
    write_safetensors(folder_ / "model.safetensors", named);
    return ModelDirectory::open(folder_);
  }

  std::string check() {
    return error_of([&] { check_parameters(network_, write()); });
  }

  void make_int8(const std::string& module, int8_t value = 3) {
    int8_ = true;
    const Shape shape = tensors_.at(module + ".weight").shape();
    Tensor weight(DType::kI8, shape);
    for (int8_t& element : weight.as<int8_t>()) element = value;
    tensors_[module + ".weight"] = std::move(weight);
    set(module + ".weight_scale", {shape[0], 1}, 0.01f);
    set(module + ".input_scale", {1}, 0.02f);
  }

  const std::string kQuery = "encoder.layer.0.attention.self.query";
  Network network_ = build_network(small_config());
  std::map<std::string, Tensor> tensors_;
  bool int8_ = false;
};

TEST_F(Parameters, AcceptsFloatsAndInt8) {
  EXPECT_EQ(check(), "no error");
  make_int8(kQuery);
  EXPECT_EQ(check(), "no error");
}

TEST_F(Parameters, ReportsAnAbsentHeadOnly) {
  network_ = build_network(small_config(HeadKind::kClassification));
  EXPECT_THAT(check_parameters(network_, write()),
              ElementsAre("pooler.dense.weight", "pooler.dense.bias", "classifier.weight",
                          "classifier.bias"));
}

TEST_F(Parameters, RefusesMissingTensors) {
  tensors_.erase(kQuery + ".bias");
  EXPECT_THAT(check(), AllOf(HasSubstr("/model.safetensors: " + kQuery +
                                       ".bias] missing, expected shape [8]"),
                             EndsWith("take both from one")));
}

TEST_F(Parameters, RefusesWrongShapes) {
  set(kQuery + ".weight", {8, 4}, 1);
  EXPECT_THAT(check(), AllOf(HasSubstr("/model.safetensors: " + kQuery),
                             HasSubstr("expected shape [8, 8] as config.json says, found [8, 4]"),
                             EndsWith("take both from one")));
}

TEST_F(Parameters, RefusesNaN) {
  tensors_.at(kQuery + ".weight").as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(check(), AllOf(HasSubstr("/model.safetensors: " + kQuery),
                             HasSubstr("element 5 is nan, expected finite values"),
                             EndsWith("take another model")));
}

// Only activations are without -128.
TEST_F(Parameters, AcceptsWeightsOfMinus128) {
  make_int8(kQuery, -128);
  EXPECT_EQ(check(), "no error");
}

TEST_F(Parameters, RefusesInt8Norms) {
  tensors_["embeddings.LayerNorm.bias"] = Tensor(DType::kI8, {8});
  EXPECT_THAT(check(), HasSubstr("expected floats, found I8"));
}

TEST_F(Parameters, InspectsLayers) {
  make_int8(kQuery);
  const ModelReport report = inspect_model(network_, write());
  ASSERT_EQ(report.layers.size(), 12u);
  EXPECT_EQ(report.layers[0].name, kQuery);
  EXPECT_EQ(report.layers[0].dtype, DType::kI8);
  EXPECT_EQ(report.layers[0].bytes_now, 64u + 32 + 4);
  EXPECT_EQ(report.layers[1].bytes_now, 256u);
  EXPECT_EQ(report.layers[1].bytes_after, 8u * (4 + 1) + 32 + 4);
  EXPECT_EQ(report.layers[5].not_prunable, "");
  uint64_t now = 0;
  for (const LayerReport& layer : report.layers) now += layer.bytes_now;
  EXPECT_EQ(report.matrix_bytes_now, now);
  EXPECT_EQ(report.other_bytes, 4u * (20 * 8 + 16 * 8 + 2 * 8 + 16) + 2 * 4 * (6 * 8 + 12 + 3 * 8));
}

TEST_F(Parameters, CountsTensorsThatTheNetworkDoesNotRead) {
  make_int8(kQuery);
  EXPECT_EQ(inspect_model(network_, write()).unused_tensors, 0);
  set("encoder.layer.2.output.dense.bias", {8}, 0);
  set("pooler.dense.weight", {8, 8}, 0);
  const ModelReport report = inspect_model(network_, write());
  EXPECT_EQ(report.unused_tensors, 2);
  EXPECT_EQ(report.unused_bytes, 4u * (8 + 64));
}

TEST_F(Parameters, InspectsDoubles) {
  Tensor weight(DType::kF64, {8, 8});
  for (int i = 0; i < 64; ++i) weight.as<double>()[i] = i % 4 < 2 ? 0.5 : 0;
  tensors_[std::string(kQuery) + ".weight"] = std::move(weight);
  const ModelReport report = inspect_model(network_, write());
  EXPECT_EQ(report.layers[0].dtype, DType::kF64);
  EXPECT_EQ(report.layers[0].sparsity.zeros, 0.5);
}

TEST(Inspect, SaysWhyAnEngineCannot) {
  const auto engines = sparse_int8_engines(24, 36);
  EXPECT_EQ(engines[0].reason, "k = 36 is not a multiple of 8");
  EXPECT_EQ(engines[1].reason, "k = 36 is not a multiple of 32");
  for (const Eligibility& engine : sparse_int8_engines(384, 1536)) EXPECT_EQ(engine.reason, "");
  EXPECT_EQ(sparse_int8_engines(24, 64)[1].reason, "n = 24 is not a multiple of 32");
}

TEST(Inspect, SaysWhyALayerIsNotPrunable) {
  ModelConfig config = small_config(HeadKind::kClassification);
  config.intermediate_size = 10;
  const Network network = build_network(config);
  EXPECT_EQ(why_not_prunable(network, network.ops[11]), "k = 10 is not a multiple of 4");
  EXPECT_EQ(why_not_prunable(network, network.ops[2]), "");
  EXPECT_EQ(why_not_prunable(network, network.ops.back()), "head: stays dense");
}

TEST(Head, ExpectedLabel) {
  const ModelConfig config = small_config(HeadKind::kClassification);
  const Score even = score_from_output(std::vector<float>{1, 1, 1}, config);
  EXPECT_FLOAT_EQ(even.score, 1.0f);
  EXPECT_EQ(even.predicted, 0);
  const Score sure = score_from_output(std::vector<float>{-1000, 0, 1000}, config);
  EXPECT_FLOAT_EQ(sure.score, 2.0f);
  EXPECT_EQ(sure.predicted, 2);
}

TEST(Head, RegressionIsTheOutput) {
  ModelConfig config = small_config(HeadKind::kClassification);
  config.num_labels = 1;
  const Score score = score_from_output(std::vector<float>{-2.5f}, config);
  EXPECT_EQ(score.score, -2.5f);
  EXPECT_EQ(score.predicted, -1);
}

TEST(Head, ScoreOfEmbeddingsIsSummedInDouble) {
  const std::vector<float> a = {1e8f, 1, -1e8f}, b = {1, 0.5f, 1};
  EXPECT_EQ(score_from_embeddings(a, b), 0.5f);
}

TEST(Head, RefusesOtherRows) {
  EXPECT_THAT(error_of([] {
                score_from_output(std::vector<float>{1}, small_config(HeadKind::kClassification));
              }),
              HasSubstr("expected a row of 3 labels, found 1 values"));
  EXPECT_THAT(error_of([] {
                score_from_output(std::vector<float>{1}, small_config(HeadKind::kEmbedding));
              }),
              HasSubstr("no classification head"));
}

}  // namespace
}  // namespace twofour
