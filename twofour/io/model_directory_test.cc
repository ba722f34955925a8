#include "twofour/io/model_directory.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "twofour/base/testing.h"
#include "twofour/base/testing_permissions.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

json bert_config() {
  return {
      {"model_type", "bert"},    {"architectures", {"BertModel"}}, {"vocab_size", 10},
      {"hidden_size", 8},        {"num_hidden_layers", 1},         {"num_attention_heads", 2},
      {"intermediate_size", 16}, {"max_position_embeddings", 32},  {"type_vocab_size", 2},
      {"hidden_act", "gelu"},    {"layer_norm_eps", 1e-12},        {"custom", {{"kept", true}}}};
}

json pooling(const char* mode) {
  json config = {{"word_embedding_dimension", 8}};
  for (const char* name : {"cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"}) {
    config[fmt::format("pooling_mode_{}", name)] = std::string(name) == mode;
  }
  return config;
}

json module(int index, const char* path, const char* type) {
  return {{"idx", index},
          {"name", std::to_string(index)},
          {"path", path},
          {"type", fmt::format("sentence_transformers.models.{}", type)}};
}

json quantization() {
  const auto arguments = [](const char* strategy) -> json {
    return {{"num_bits", 8},         {"type", "int"},        {"symmetric", true},
            {"group_size", nullptr}, {"strategy", strategy}, {"dynamic", false},
            {"observer", "minmax"}};
  };
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"kv_cache_scheme", nullptr},
          {"config_groups",
           {{"group_0",
             {{"targets", json::array({"Linear"})},
              {"weights", arguments("channel")},
              {"input_activations", arguments("tensor")},
              {"output_activations", nullptr}}}}}};
}

Tensor filled(DType dtype, Shape shape, float value) {
  Tensor tensor(dtype, std::move(shape));
  std::memset(tensor.data(), 0, tensor.bytes());
  if (dtype == DType::kF32) std::fill(tensor.as<float>().begin(), tensor.as<float>().end(), value);
  return tensor;
}

// A model directory on disk, which each test spoils in its own way.
class ModelDirectoryTest : public FolderTest {
 protected:
  ModelDirectoryTest() {
    put("config.json", bert_config());
    put_weights({"embeddings.word_embeddings.weight", "pooler.dense.weight"});
  }

  void put(const std::string& name, const json& content) const {
    write_file_atomically(folder_ / name, content.dump());
  }
  void put_weights(const std::vector<std::string>& names,
                   const std::string& file = "model.safetensors") const {
    const Tensor weight = filled(DType::kF32, {2, 4}, 1);
    std::vector<NamedTensor> tensors;
    for (const std::string& name : names) tensors.push_back({name, weight});
    write_safetensors(folder_ / file, tensors);
  }
  // Spoils one member of config.json.
  std::string config_error(const char* key, const json& value) const {
    json config = bert_config();
    config[key] = value;
    put("config.json", config);
    return error();
  }
  void make_embedding(const json& pooling_config, bool normalize) const {
    json modules = {module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")};
    if (normalize) modules.push_back(module(2, "2_Normalize", "Normalize"));
    put("modules.json", modules);
    put("1_Pooling/config.json", pooling_config);
  }
  ModelDirectory open() const { return ModelDirectory::open(folder_); }
  std::string error() const {
    return error_of([&] { open(); });
  }

  // One int8 layer "x" with its scales, and a float layer "pooler.dense".
  struct Int8Layer {
    Tensor weight = filled(DType::kI8, {2, 4}, 0);
    Tensor weight_scale = filled(DType::kF32, {2, 1}, 0.5f);
    Tensor input_scale = filled(DType::kF32, {1}, 0.25f);
    Tensor pooler = filled(DType::kF32, {2, 4}, 1);

    std::vector<NamedTensor> tensors() const {
      return {{"x.weight", weight},
              {"x.weight_scale", weight_scale},
              {"x.input_scale", input_scale},
              {"pooler.dense.weight", pooler}};
    }
  };
  // x.weight [1, 4], the last two values zero, with the masks of three tools.
  std::vector<NamedTensor> masked_layer(DType dtype) {
    const size_t size = dtype_bytes(dtype);
    weight_ = filled(dtype, {1, 4}, 0);
    std::memset(weight_.data(), 0x3c, 2 * size);
    mask_ = filled(DType::kBool, {1, 4}, 0);
    std::memset(mask_.data(), 1, 2);
    return {{"x.weight", weight_},
            {"x.weight_mask", mask_},
            {"x._weight_mask", mask_},
            {"x.__weight_mma_mask", mask_},
            {"x.__weight_mma_pruned_p", weight_}};
  }
  void put_int8(const std::vector<NamedTensor>& tensors) const {
    json config = bert_config();
    config["quantization_config"] = quantization();
    put("config.json", config);
    write_safetensors(folder_ / "model.safetensors", tensors);
  }
  std::string int8_error(const std::vector<NamedTensor>& tensors) const {
    put_int8(tensors);
    return error();
  }
  // Spoils one member of the quantization_config, found by a JSON pointer.
  std::string quantization_error(const char* pointer, const json& value) const {
    json config = bert_config();
    config["quantization_config"] = quantization();
    config["quantization_config"][json::json_pointer(pointer)] = value;
    put("config.json", config);
    return error();
  }
  Tensor weight_, mask_;
};

TEST_F(ModelDirectoryTest, ReadsAnEncoder) {
  put("twofour.json", {{"pattern", "2:4"}});
  write_file_atomically(folder_ / "vocab.txt", "[PAD]\n");
  const ModelDirectory model = open();
  const ModelConfig& config = model.config();
  EXPECT_EQ(model.path(), folder_);
  EXPECT_EQ(config.model_type, "bert");
  EXPECT_THAT(config.architectures, ElementsAre("BertModel"));
  EXPECT_EQ(config.vocab_size, 10);
  EXPECT_EQ(config.hidden_size, 8);
  EXPECT_EQ(config.num_hidden_layers, 1);
  EXPECT_EQ(config.num_attention_heads, 2);
  EXPECT_EQ(config.intermediate_size, 16);
  EXPECT_EQ(config.max_position_embeddings, 32);
  EXPECT_EQ(config.type_vocab_size, 2);
  EXPECT_EQ(config.hidden_act, "gelu");
  EXPECT_EQ(config.layer_norm_eps, 1e-12);
  EXPECT_EQ(config.head, HeadKind::kNone);
  EXPECT_EQ(config.max_sequence_length, 32);
  EXPECT_FALSE(config.int8);
  EXPECT_EQ(json::parse(config.json), bert_config());
  EXPECT_EQ(config.origin, (folder_ / "config.json").string());
  EXPECT_EQ(model.twofour_json(), R"({"pattern":"2:4"})");
  EXPECT_EQ(model.file("vocab.txt"), "[PAD]\n");
  EXPECT_EQ(model.file("tokenizer.json"), std::nullopt);
  EXPECT_EQ(model.weight_file_bytes(), fs::file_size(folder_ / "model.safetensors"));
  EXPECT_THAT(error_of([&] { model.tensor("absent.weight"); }),
              HasSubstr((folder_ / "model.safetensors").string() + ": absent.weight]"));
}

TEST_F(ModelDirectoryTest, CanonicalNames) {
  put_weights({"bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.beta",
               "bert.embeddings.position_ids", "cls.predictions.bias", "classifier.weight"});
  const ModelDirectory model = open();
  EXPECT_THAT(model.tensor_names(), ElementsAre("classifier.weight", "embeddings.LayerNorm.bias",
                                                "embeddings.LayerNorm.weight"));
  EXPECT_EQ(model.tensor("embeddings.LayerNorm.bias").shape, (Shape{2, 4}));
  EXPECT_THAT(model.where("embeddings.LayerNorm.bias"),
              EndsWith("/model.safetensors: bert.embeddings.LayerNorm.beta"));
  EXPECT_FALSE(model.contains("bert.embeddings.LayerNorm.beta"));
  put_weights({"bert.pooler.dense.weight", "pooler.dense.weight"});
  EXPECT_THAT(error(), HasSubstr("same tensor under another name"));
}

TEST_F(ModelDirectoryTest, ClassificationHead) {
  json config = bert_config();
  config["architectures"] = {"BertForSequenceClassification", "Other"};
  put("config.json", config);
  EXPECT_EQ(open().config().head, HeadKind::kClassification);
  EXPECT_EQ(open().config().num_labels, 2);
  config["num_labels"] = 5;
  put("config.json", config);
  EXPECT_EQ(open().config().num_labels, 5);
  config["id2label"] = {{"0", "score"}};
  put("config.json", config);
  EXPECT_EQ(open().config().num_labels, 1);
}

TEST_F(ModelDirectoryTest, EmbeddingHead) {
  make_embedding(pooling("mean_tokens"), true);
  EXPECT_EQ(open().config().head, HeadKind::kEmbedding);
  EXPECT_EQ(open().config().pooling, Pooling::kMean);
  EXPECT_TRUE(open().config().normalize);
  make_embedding(pooling("cls_token"), false);
  EXPECT_EQ(open().config().pooling, Pooling::kCls);
  EXPECT_FALSE(open().config().normalize);
  make_embedding(pooling("max_tokens"), false);
  EXPECT_EQ(open().config().pooling, Pooling::kMax);
  make_embedding({{"pooling_mode", "cls"}}, false);
  EXPECT_EQ(open().config().pooling, Pooling::kCls);
}

TEST_F(ModelDirectoryTest, TransformerInASubFolder) {
  put("modules.json", {module(0, "0_Transformer", "Transformer"), module(1, "1_P", "Pooling")});
  put("1_P/config.json", pooling("cls_token"));
  put("0_Transformer/config.json", bert_config());
  write_file_atomically(folder_ / "0_Transformer" / "vocab.txt", "[CLS]\n");
  put_weights({"only.weight"}, "0_Transformer/model.safetensors");
  EXPECT_EQ(open().config().pooling, Pooling::kCls);
  EXPECT_EQ(open().file("vocab.txt"), "[CLS]\n");
  EXPECT_THAT(open().tensor_names(), ElementsAre("only.weight"));
}

TEST_F(ModelDirectoryTest, DamagedModules) {
  make_embedding(pooling("mean_sqrt_len_tokens"), false);
  EXPECT_THAT(error(), AllOf(HasSubstr("1_Pooling/config.json"), HasSubstr("exactly one")));
  json two = pooling("cls_token");
  two["pooling_mode_mean_tokens"] = true;
  make_embedding(two, false);
  EXPECT_THAT(error(), HasSubstr("exactly one"));
  make_embedding({{"pooling_mode", "lasttoken"}}, false);
  EXPECT_THAT(error(), HasSubstr("\"lasttoken\" is not supported"));
  put("modules.json", {module(0, "", "Transformer"), module(1, "no", "Pooling")});
  EXPECT_THAT(error(), AllOf(HasSubstr("no/config.json"), HasSubstr("modules.json names it")));
  put("modules.json", {module(0, "", "Transformer"), module(1, "2_Dense", "Dense")});
  EXPECT_THAT(error(), HasSubstr("module \"Dense\" is not supported"));
  put("modules.json", json::array({module(0, "", "Transformer")}));
  EXPECT_THAT(error(), HasSubstr("expected Transformer, Pooling"));
  put("modules.json", {module(0, "../other", "Transformer"), module(1, "1_Pooling", "Pooling")});
  EXPECT_THAT(error(), HasSubstr("leads out of the model's folder"));
  put("modules.json", {{"a", 1}});
  EXPECT_THAT(error(), HasSubstr("expected a list of modules"));
}

TEST_F(ModelDirectoryTest, LengthIsTheLeastLimit) {
  put("tokenizer_config.json", {{"model_max_length", 1e30}});
  EXPECT_EQ(open().config().max_sequence_length, 32);
  put("tokenizer_config.json", {{"model_max_length", 20}});
  EXPECT_EQ(open().config().max_sequence_length, 20);
  put("sentence_bert_config.json", {{"max_seq_length", nullptr}});
  EXPECT_EQ(open().config().max_sequence_length, 20);
  put("sentence_bert_config.json", {{"max_seq_length", 16}});
  EXPECT_EQ(open().config().max_sequence_length, 16);
  put("sentence_bert_config.json", {{"max_seq_length", 0}});
  EXPECT_THAT(error(), AllOf(HasSubstr("sentence_bert_config.json"), HasSubstr("found 0")));
}

TEST_F(ModelDirectoryTest, OtherNetworksAreLeftToTheirBuilders) {
  put("config.json", {{"model_type", "distilbert"}, {"dim", 8}});
  EXPECT_EQ(open().config().model_type, "distilbert");
}

TEST_F(ModelDirectoryTest, DamagedConfig) {
  EXPECT_THAT(config_error("hidden_size", nullptr),
              AllOf(HasSubstr("config.json]"), HasSubstr("\"hidden_size\" is missing")));
  EXPECT_THAT(config_error("hidden_size", "8"), HasSubstr("found string"));
  EXPECT_THAT(config_error("hidden_size", 0), HasSubstr("found 0"));
  EXPECT_THAT(config_error("hidden_size", 9), HasSubstr("not a multiple of num_attention_heads 2"));
  EXPECT_THAT(config_error("vocab_size", 1e10), HasSubstr("\"vocab_size\""));
  EXPECT_THAT(config_error("vocab_size", 10000000000), HasSubstr("found 10000000000"));
  EXPECT_THAT(config_error("hidden_act", "swish"), HasSubstr("\"swish\" is not supported"));
  EXPECT_THAT(config_error("layer_norm_eps", 0), HasSubstr("layer_norm_eps"));
  EXPECT_THAT(config_error("hidden_dropout_prob", 1.0), HasSubstr("in [0, 1), found 1"));
  EXPECT_THAT(config_error("position_embedding_type", "relative_key"),
              HasSubstr("\"relative_key\" is not supported"));
  EXPECT_THAT(config_error("is_decoder", true), HasSubstr("decoders"));
  EXPECT_THAT(config_error("is_decoder", 1), HasSubstr("expected true or false, found 1"));
  EXPECT_THAT(config_error("architectures", "BertModel"), HasSubstr("a list of strings"));
  EXPECT_THAT(config_error("architectures", {1}), HasSubstr("a list of strings"));
  EXPECT_THAT(config_error("model_type", nullptr), HasSubstr("\"model_type\" is missing"));
  write_file_atomically(folder_ / "config.json", "{\"a\": 1, \"a\": 2}");
  EXPECT_THAT(error(), HasSubstr("stands twice"));
  write_file_atomically(folder_ / "config.json", "{");
  EXPECT_THAT(error(), HasSubstr("damaged JSON"));
  write_file_atomically(folder_ / "config.json", "");
  EXPECT_THAT(error(), HasSubstr("damaged JSON"));
}

TEST_F(ModelDirectoryTest, MissingFiles) {
  EXPECT_THAT(error_of([&] { ModelDirectory::open(folder_ / "no"); }),
              HasSubstr("no such model directory"));
  EXPECT_THAT(error_of([&] { ModelDirectory::open(folder_ / "config.json"); }),
              HasSubstr("Name the folder"));
  for (const std::string name : {"BAAI/bge-small-en", "no-such-model"})
    EXPECT_THAT(error_of([&] { ModelDirectory::open(name); }),
                AllOf(HasSubstr("[" + name + "] no such model directory. Models are folders here"),
                      HasSubstr(": hf download " + name + " --local-dir ")));
  EXPECT_THAT(error_of([&] { ModelDirectory::open(folder_ / "no"); }),
              testing::Not(HasSubstr("hf download")));
  write_file_atomically(folder_ / "run/model/config.json", "{}");
  EXPECT_THAT(error_of([&] { ModelDirectory::open(folder_ / "run/"); }),
              EndsWith(fmt::format("run] is the folder of a run. Did you mean {}?",
                                   (folder_ / "run/model").string())));
  fs::remove(folder_ / "model.safetensors");
  EXPECT_THAT(error(), AllOf(HasSubstr("model.safetensors]"), HasSubstr("no such file")));
  write_file_atomically(folder_ / "pytorch_model.bin", "");
  EXPECT_THAT(error(), HasSubstr("pytorch_model.bin needs conversion"));
  fs::remove(folder_ / "config.json");
  EXPECT_THAT(error(), AllOf(HasSubstr("config.json]"), HasSubstr("no such file")));
}

TEST_F(ModelDirectoryTest, WhatCannotBeReadIsNotAbsent) {
  fs::remove(folder_ / "config.json");
  fs::create_symlink("config.json", folder_ / "config.json");
  EXPECT_THAT(error(), AllOf(HasSubstr("config.json] cannot be read: Too many levels"),
                             EndsWith("name another")));
  fs::permissions(folder_, fs::perms::none);
  bound_by_permissions(
      [&] { EXPECT_THAT(error(), HasSubstr("json] cannot be read: Permission denied")); });
  fs::permissions(folder_, fs::perms::owner_all);
}

TEST_F(ModelDirectoryTest, DamagedOwnFile) {
  put("twofour.json", json::array());
  EXPECT_THAT(error(), AllOf(HasSubstr("twofour.json"), HasSubstr("JSON object")));
}

TEST_F(ModelDirectoryTest, Shards) {
  fs::rename(folder_ / "model.safetensors", folder_ / "one.safetensors");
  put("model.safetensors.index.json", {{"weight_map",
                                        {{"embeddings.word_embeddings.weight", "one.safetensors"},
                                         {"pooler.dense.weight", "one.safetensors"}}}});
  EXPECT_EQ(open().tensor_names().size(), 2u);
  EXPECT_EQ(open().weight_file_bytes(), fs::file_size(folder_ / "one.safetensors"));
  EXPECT_THAT(open().where("pooler.dense.weight"),
              EndsWith("/one.safetensors: pooler.dense.weight"));
  EXPECT_THAT(open().where("x"), EndsWith("/model.safetensors.index.json: x"));
  fs::remove(folder_ / "one.safetensors");
  EXPECT_THAT(error(), AllOf(HasSubstr("one.safetensors"), HasSubstr("No such file")));
}

TEST_F(ModelDirectoryTest, FromMemory) {
  make_embedding(pooling("cls_token"), true);
  std::map<std::string, std::string> contents;
  for (const char* name :
       {"config.json", "model.safetensors", "modules.json", "1_Pooling/config.json"}) {
    contents[name] = read_file(folder_ / name);
  }
  std::map<std::string, std::span<const std::byte>> files;
  for (const auto& [name, content] : contents) files[name] = std::as_bytes(std::span(content));
  const ModelDirectory model = ModelDirectory::from_memory(files, "memory");
  EXPECT_EQ(model.config().pooling, Pooling::kCls);
  EXPECT_TRUE(model.path().empty());
  EXPECT_EQ(model.tensor("pooler.dense.weight").as<float>()[0], 1);
  EXPECT_EQ(model.weight_file_bytes(), contents["model.safetensors"].size());
  files.erase("model.safetensors");
  EXPECT_THAT(error_of([&] { ModelDirectory::from_memory(files, "memory"); }),
              HasSubstr("[memory/model.safetensors] no such file"));
}

TEST_F(ModelDirectoryTest, ReadsInt8) {
  const Int8Layer layer;
  put_int8(layer.tensors());
  EXPECT_TRUE(open().config().int8);
  EXPECT_EQ(open().tensor("x.weight").dtype, DType::kI8);
}

TEST_F(ModelDirectoryTest, WithOtherTensors) {
  const Int8Layer layer;
  put_int8(layer.tensors());
  const ModelDirectory model = open();

  ModelConfig config = model.config();
  config.int8 = false;
  const ModelDirectory plain = model.with_tensors(config, {{"pooler.dense.weight", layer.pooler}});
  EXPECT_FALSE(plain.config().int8);
  EXPECT_THAT(plain.tensor_names(), ElementsAre("pooler.dense.weight"));
  EXPECT_EQ(plain.tensor("pooler.dense.weight").data, layer.pooler.data());

  Int8Layer other;
  other.input_scale = filled(DType::kF32, {1}, 0.75f);
  const ModelDirectory copy = model.with_tensors(model.config(), other.tensors());
  EXPECT_THAT(copy.tensor("x.input_scale").as<float>(), ElementsAre(0.75f));
  EXPECT_THAT(model.tensor("x.input_scale").as<float>(), ElementsAre(0.25f));
  EXPECT_EQ(error_of([&] {
              model.with_tensors(model.config(), {{"x.weight", other.weight}});
            }),
            "[" + folder_.string() +
                ": x.weight_scale] the int8 weight's companion is missing. The file is damaged or "
                "incomplete: fetch it again, or quantize the float model anew");
}

Tensor scale_of(DType dtype, Shape shape, float value) {
  Tensor scale = filled(dtype, std::move(shape), value);
  if (dtype == DType::kF32) return scale;
  for (uint16_t& element : scale.as<uint16_t>())
    element = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  return scale;
}

// llm-compressor writes them in the type of the float model.
TEST_F(ModelDirectoryTest, ScalesOfOthersBecomeF32) {
  for (const auto& [dtype, expected] : {std::pair{DType::kF32, 0.3f},
                                        {DType::kF16, f16_to_f32(f32_to_f16(0.3f))},
                                        {DType::kBF16, bf16_to_f32(f32_to_bf16(0.3f))}}) {
    for (const bool last_dimension : {true, false}) {
      Int8Layer layer;
      layer.weight_scale = scale_of(dtype, last_dimension ? Shape{2, 1} : Shape{2}, 0.3f);
      layer.input_scale = scale_of(dtype, last_dimension ? Shape{1} : Shape(), 0.3f);
      put_int8(layer.tensors());
      const ModelDirectory copy = open().with_head(HeadKind::kNone, 0);
      EXPECT_EQ(copy.tensor("x.weight_scale").dtype, DType::kF32);
      EXPECT_EQ(copy.tensor("x.weight_scale").shape, (Shape{2, 1}));
      EXPECT_THAT(copy.tensor("x.weight_scale").as<float>(), ElementsAre(expected, expected));
      EXPECT_EQ(copy.tensor("x.input_scale").shape, (Shape{1}));
      EXPECT_THAT(copy.tensor("x.input_scale").as<float>(), ElementsAre(expected));
    }
  }
}

TEST_F(ModelDirectoryTest, Int8TensorsMustFit) {
  const Int8Layer good;
  EXPECT_THAT(int8_error({{"pooler.dense.weight", good.pooler}}), HasSubstr("no weight is int8"));
  EXPECT_THAT(int8_error({{"x.weight", good.weight}, {"x.input_scale", good.input_scale}}),
              AllOf(HasSubstr("x.weight_scale]"), HasSubstr("is missing")));
  EXPECT_THAT(int8_error({{"x.weight", good.weight}, {"x.weight_scale", good.weight_scale}}),
              AllOf(HasSubstr("x.input_scale]"), HasSubstr("is missing")));
  Int8Layer bad;
  bad.weight_scale = filled(DType::kF32, {1, 1}, 1);
  EXPECT_THAT(int8_error(bad.tensors()),
              HasSubstr("is F32 [1, 1], expected F32, F16 or BF16 [2, 1]"));
  bad.weight_scale = filled(DType::kF32, {1, 2}, 1);
  EXPECT_THAT(int8_error(bad.tensors()), HasSubstr("is F32 [1, 2], expected"));
  bad.weight_scale = filled(DType::kF64, {2, 1}, 1);
  EXPECT_THAT(int8_error(bad.tensors()), HasSubstr("is F64 [2, 1], expected"));
  bad.weight_scale = filled(DType::kF16, {2, 1}, 0);
  EXPECT_THAT(int8_error(bad.tensors()), HasSubstr("scale 0 is 0"));
  bad.weight_scale = filled(DType::kF32, {2, 1}, 0);
  EXPECT_THAT(int8_error(bad.tensors()), HasSubstr("scale 0 is 0"));
  bad = Int8Layer();
  bad.input_scale = filled(DType::kF32, {1}, std::nanf(""));
  EXPECT_THAT(int8_error(bad.tensors()), HasSubstr("scale 0 is nan"));
  bad = Int8Layer();
  bad.weight = filled(DType::kI8, {8}, 0);
  EXPECT_THAT(int8_error(bad.tensors()), HasSubstr("expected two dimensions"));
  write_safetensors(folder_ / "model.safetensors", good.tensors());
  put("config.json", bert_config());
  EXPECT_THAT(error(), HasSubstr("config.json has no quantization_config"));
}

TEST_F(ModelDirectoryTest, ReadsDynamicActivations) {
  const Int8Layer layer;
  std::vector<NamedTensor> tensors = layer.tensors();
  put_int8(tensors);
  EXPECT_FALSE(open().config().dynamic_activations);
  json by_token = quantization()["config_groups"]["group_0"];
  by_token["input_activations"].update({{"dynamic", true}, {"strategy", "token"}});
  EXPECT_THAT(quantization_error("/config_groups/group_0", by_token),
              AllOf(HasSubstr("x.input_scale]"), HasSubstr("is a static scale, but config.json")));
  EXPECT_THAT(quantization_error("/config_groups/group_1", by_token),
              HasSubstr("static beside dynamic quantization of activations is not supported"));
  std::erase_if(tensors, [](const NamedTensor& t) { return t.name == "x.input_scale"; });
  write_safetensors(folder_ / "model.safetensors", tensors);
  EXPECT_EQ(quantization_error("/config_groups/group_0", by_token), "no error");
  EXPECT_TRUE(open().config().int8);
  EXPECT_TRUE(open().config().dynamic_activations);
  EXPECT_FALSE(open().contains("x.input_scale"));
}

TEST_F(ModelDirectoryTest, OtherQuantizationIsRefused) {
  put_int8(Int8Layer().tensors());
  EXPECT_EQ(quantization_error("/quantization_status", "frozen"), "no error");
  const std::string group = "/config_groups/group_0";
  for (const auto& [pointer, value, expected] :
       std::vector<std::tuple<std::string, json, const char*>>{
           {"/quant_method", "gptq", "quant_method \"gptq\" is not supported"},
           {"/format", "pack-quantized", "format \"pack-quantized\" is not supported"},
           {"/config_groups", json::object(), "missing or empty"},
           {group + "/weights/num_bits", 4, "num_bits 4 is not supported"},
           {group + "/weights/type", "float", "type \"float\" is not supported"},
           {group + "/weights/strategy", "tensor", "strategy \"tensor\" is not supported"},
           {group + "/weights/symmetric", false, "symmetric other than true"},
           {group + "/input_activations", nullptr, "a group without input_activations"},
           {group + "/weights/dynamic", true, "dynamic other than false"},
           {group + "/input_activations/dynamic", true, "strategy \"tensor\" is not supported"},
           {group + "/input_activations/dynamic", "local", "dynamic \"local\" is not supported"},
           {group + "/input_activations/strategy", "token", "strategy \"token\" is not supported"},
           {group + "/output_activations", {{"num_bits", 8}}, "output activations"},
           {"/kv_cache_scheme", {{"num_bits", 8}}, "kv_cache_scheme"},
           {"/sparsity_config", {{"format", "sparse-24-bitmask"}}, "sparse-24-bitmask"}}) {
    EXPECT_THAT(quantization_error(pointer.c_str(), value), HasSubstr(expected)) << pointer;
  }
  EXPECT_THAT(config_error("quantization_config", {{"load_in_8bit", true}}),
              AllOf(HasSubstr("config.json, quantization_config]"), HasSubstr("Supported is")));
}

TEST_F(ModelDirectoryTest, ConfigOfAModelThatWasOnlyPruned) {
  for (const json& sparsity : {json::object(), json{{"format", "dense"}}, json(nullptr)}) {
    EXPECT_EQ(config_error("quantization_config", {{"quant_method", "compressed-tensors"},
                                                   {"transform_config", json::object()},
                                                   {"sparsity_config", sparsity}}),
              "no error");
  }
  EXPECT_FALSE(open().config().int8);
  EXPECT_THAT(
      config_error("quantization_config", {{"quant_method", "compressed-tensors"},
                                           {"sparsity_config", {{"format", "sparse-24-bitmask"}}}}),
      HasSubstr("sparse-24-bitmask"));
  EXPECT_THAT(config_error("quantization_config", {{"quant_method", "compressed-tensors"},
                                                   {"transform_config", {{"R1", {}}}}}),
              HasSubstr("a transform_config is not supported"));
}

// A weight with its last two values zero, in each type that pruning tools save.
TEST_F(ModelDirectoryTest, MasksOfOtherToolsAreLeftOut) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    const std::vector<NamedTensor> tensors = masked_layer(dtype);
    write_safetensors(folder_ / "model.safetensors", tensors);
    EXPECT_THAT(open().tensor_names(), ElementsAre("x.weight"));
    EXPECT_EQ(open().tensor("x.weight").dtype, dtype);
  }
}

TEST_F(ModelDirectoryTest, MasksMustHaveBeenApplied) {
  const auto refusal = [&](const std::vector<NamedTensor>& tensors) {
    write_safetensors(folder_ / "model.safetensors", tensors);
    return error();
  };
  Tensor full = filled(DType::kF32, {1, 4}, 1);
  Tensor mask = filled(DType::kBool, {1, 4}, 0);
  for (const char* name : {"x._weight_mask", "x.__weight_mma_mask", "x.weight_mask"}) {
    EXPECT_THAT(refusal({{"x.weight", full}, {name, mask}}),
                AllOf(HasSubstr(name), HasSubstr("not zero where its mask is: 4 of 4 values"),
                      HasSubstr("squash_mask")));
  }
  full.as<float>()[3] = -0.0f;  // zero all the same
  EXPECT_THAT(refusal({{"x.weight", full}, {"x.weight_mask", mask}}), HasSubstr("3 of 4 values"));
  EXPECT_THAT(refusal({{"x.weight", full}, {"x.weight_mask", filled(DType::kBool, {4}, 0)}}),
              HasSubstr("the mask is [4], its weight [1, 4]"));
  EXPECT_THAT(refusal({{"x.weight_mask", mask}}), HasSubstr("mask of a weight that is missing"));
  EXPECT_THAT(refusal({{"x.weight_orig", full}, {"x.weight_mask", mask}}),
              AllOf(HasSubstr("x.weight_orig"), HasSubstr("an original and a mask")));
  EXPECT_THAT(refusal({{"x.parametrizations.weight.original", full}}),
              HasSubstr("an original and a mask"));
}

TEST_F(ModelDirectoryTest, WithHead) {
  const ModelDirectory model = open().with_head(HeadKind::kClassification, 3);
  EXPECT_EQ(model.config().head, HeadKind::kClassification);
  EXPECT_EQ(model.config().num_labels, 3);
  EXPECT_TRUE(model.contains("pooler.dense.weight"));
  EXPECT_THAT(error_of([&] { model.with_head(HeadKind::kClassification, 0); }),
              HasSubstr("with 0 labels"));
}

}  // namespace
}  // namespace twofour
