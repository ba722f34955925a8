// What save_model_directory writes; reading is tested in model_directory_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "twofour/base/testing.h"
#include "twofour/io/file.h"
#include "twofour/io/model_directory.h"
#include "twofour/io/testing.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kConfig = R"({
  "zebra": "first key of the user",
  "model_type": "bert",
  "architectures": ["BertForMaskedLM"],
  "vocab_size": 10, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
  "intermediate_size": 8, "max_position_embeddings": 32, "layer_norm_eps": 1e-12
})";

Tensor filled(DType dtype, Shape shape, float value) {
  Tensor tensor(dtype, std::move(shape));
  std::memset(tensor.data(), 0, tensor.bytes());
  if (dtype == DType::kF32) std::fill(tensor.as<float>().begin(), tensor.as<float>().end(), value);
  return tensor;
}

// A dense source with a tokenizer, and an int8 layer to save.
class SaveTest : public FolderTest {
 protected:
  SaveTest() {
    write_file_atomically(source_ / "config.json", kConfig);
    write_file_atomically(source_ / "vocab.txt", "[PAD]\n");
    write_file_atomically(source_ / "sentence_bert_config.json", "{\"max_seq_length\": 16}");
    write_file_atomically(source_ / "README.md", "not copied");
    write_safetensors(
        source_ / "model.safetensors",
        {{"embeddings.word_embeddings.weight", embedding_}, {"pooler.dense.weight", weight_}});
  }

  ModelToSave dense(HeadKind head, int64_t num_labels) const {
    const ModelDirectory model = ModelDirectory::open(source_).with_head(head, num_labels);
    return {source_,
            model.config(),
            {{"embeddings.word_embeddings.weight", embedding_}, {"pooler.dense.weight", weight_}},
            ""};
  }
  ModelToSave int8(HeadKind head) const {
    ModelToSave model = dense(head, 3);
    model.config.int8 = true;
    model.tensors.push_back({"encoder.x.weight", quantized_});
    model.tensors.push_back({"encoder.x.weight_scale", weight_scale_});
    model.tensors.push_back({"encoder.x.input_scale", input_scale_});
    if (head == HeadKind::kClassification) model.tensors.push_back({"classifier.weight", weight_});
    return model;
  }
  json written_config() const { return json::parse(read_file(out_ / "config.json")); }

  const Tensor embedding_ = filled(DType::kF32, {10, 4}, 1);
  const Tensor weight_ = filled(DType::kF32, {4, 4}, 2);
  const Tensor quantized_ = filled(DType::kI8, {4, 4}, 0);
  const Tensor weight_scale_ = filled(DType::kF32, {4, 1}, 0.5f);
  const Tensor input_scale_ = filled(DType::kF32, {1}, 0.25f);
  const fs::path source_ = folder_ / "source", out_ = folder_ / "out";
};

TEST_F(SaveTest, EncoderKeepsUnknownKeysAndTokenizer) {
  ModelToSave model = dense(HeadKind::kNone, 0);
  model.twofour_json = "{\"recipe\": \"dense\"}";
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["zebra"], "first key of the user");
  EXPECT_EQ(written_config()["architectures"], json::array({"BertModel"}));
  EXPECT_THAT(read_file(out_ / "config.json"), testing::StartsWith("{\n  \"zebra\""));
  EXPECT_EQ(read_file(out_ / "vocab.txt"), "[PAD]\n");
  EXPECT_FALSE(fs::exists(out_ / "README.md"));
  EXPECT_FALSE(fs::exists(out_ / "modules.json"));
  const ModelDirectory read = ModelDirectory::open(out_);
  EXPECT_EQ(read.twofour_json(), model.twofour_json);
  EXPECT_EQ(read.config().max_sequence_length, 16);
  EXPECT_THAT(read.tensor_names(),
              ElementsAre("embeddings.word_embeddings.weight", "pooler.dense.weight"));
  EXPECT_EQ(Safetensors::open(out_ / "model.safetensors").metadata().at("format"), "pt");
}

TEST_F(SaveTest, ClassificationGetsPrefixAndLabels) {
  ModelToSave model = dense(HeadKind::kClassification, 3);
  model.tensors.push_back({"classifier.weight", weight_});
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["architectures"], json::array({"BertForSequenceClassification"}));
  EXPECT_EQ(written_config()["id2label"],
            json({{"0", "LABEL_0"}, {"1", "LABEL_1"}, {"2", "LABEL_2"}}));
  EXPECT_EQ(written_config()["label2id"]["LABEL_2"], 2);
  EXPECT_THAT(Safetensors::open(out_ / "model.safetensors").names(),
              ElementsAre("bert.embeddings.word_embeddings.weight", "bert.pooler.dense.weight",
                          "classifier.weight"));
  const ModelDirectory read = ModelDirectory::open(out_);
  EXPECT_EQ(read.config().head, HeadKind::kClassification);
  EXPECT_EQ(read.config().num_labels, 3);
  EXPECT_TRUE(read.contains("pooler.dense.weight"));
}

TEST_F(SaveTest, TokenClassificationIsReadBack) {
  ModelToSave model = dense(HeadKind::kTokenClassification, 4);
  model.tensors.push_back({"classifier.weight", weight_});
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["architectures"], json::array({"BertForTokenClassification"}));
  EXPECT_EQ(written_config()["id2label"].size(), 4u);
  EXPECT_THAT(Safetensors::open(out_ / "model.safetensors").names(),
              testing::Contains("classifier.weight"));
  const ModelDirectory read = ModelDirectory::open(out_);
  EXPECT_EQ(read.config().head, HeadKind::kTokenClassification);
  EXPECT_EQ(read.config().num_labels, 4);
  EXPECT_TRUE(read.contains("embeddings.word_embeddings.weight")) << "without the prefix bert.";
  model.config.num_labels = 0;
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }), HasSubstr("without labels"));
}

TEST_F(SaveTest, LabelNamesOfTheUserStay) {
  ModelToSave model = dense(HeadKind::kClassification, 2);
  json config = json::parse(kConfig);
  config["id2label"] = {{"0", "no"}, {"1", "yes"}};
  model.config.json = config.dump();
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["id2label"]["1"], "yes");
  model.config.num_labels = 1;
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["id2label"], json({{"0", "LABEL_0"}}));
}

TEST_F(SaveTest, EmbeddingGetsModules) {
  ModelToSave model = dense(HeadKind::kEmbedding, 0);
  model.config.pooling = Pooling::kCls;
  model.config.normalize = true;
  save_model_directory(out_, model);
  const ModelDirectory read = ModelDirectory::open(out_);
  EXPECT_EQ(read.config().head, HeadKind::kEmbedding);
  EXPECT_EQ(read.config().pooling, Pooling::kCls);
  EXPECT_TRUE(read.config().normalize);
  const json modules = json::parse(read_file(out_ / "modules.json"));
  EXPECT_EQ(modules[2]["type"], "sentence_transformers.models.Normalize");
  EXPECT_EQ(json::parse(read_file(out_ / "1_Pooling/config.json"))["word_embedding_dimension"], 4);

  ModelToSave classifier = dense(HeadKind::kClassification, 2);
  classifier.source = out_;
  save_model_directory(out_, classifier);
  EXPECT_FALSE(fs::exists(out_ / "modules.json"));
  EXPECT_FALSE(fs::exists(out_ / "1_Pooling"));
  EXPECT_TRUE(fs::exists(out_ / "vocab.txt"));
}

// transformers makes one for every bare encoder, and quantizes what is not ignored.
TEST_F(SaveTest, Int8IgnoresThePoolerThatTheFileLacks) {
  ModelToSave model = int8(HeadKind::kNone);
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["quantization_config"]["ignore"], json::array({"pooler.dense"}));
  std::erase_if(model.tensors,
                [](const NamedTensor& t) { return t.name == "pooler.dense.weight"; });
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["quantization_config"]["ignore"], json::array({"pooler.dense"}));
  model.config.head = HeadKind::kEmbedding;
  save_model_directory(out_, model);
  EXPECT_EQ(written_config()["quantization_config"]["ignore"], json::array({"pooler.dense"}));
}

TEST_F(SaveTest, Int8HasTheQuantizationConfigOfCompressedTensors) {
  save_model_directory(out_, int8(HeadKind::kClassification));
  const auto arguments = [](const char* strategy) -> json {
    return {{"num_bits", 8},
            {"type", "int"},
            {"symmetric", true},
            {"strategy", strategy},
            {"dynamic", false}};
  };
  const json expected = {{"quant_method", "compressed-tensors"},
                         {"format", "int-quantized"},
                         {"quantization_status", "compressed"},
                         {"ignore", {"bert.pooler.dense", "classifier"}},
                         {"config_groups",
                          {{"group_0",
                            {{"targets", json::array({"Linear"})},
                             {"weights", arguments("channel")},
                             {"input_activations", arguments("tensor")},
                             {"output_activations", nullptr}}}}}};
  EXPECT_EQ(written_config()["quantization_config"], expected);
  EXPECT_EQ(written_config()["torch_dtype"], "float32");
  EXPECT_TRUE(ModelDirectory::open(out_).config().int8);

  ModelToSave float_again = dense(HeadKind::kNone, 0);
  float_again.config.json = written_config().dump();
  save_model_directory(out_, float_again);
  EXPECT_FALSE(written_config().contains("quantization_config"));
}

TEST_F(SaveTest, DynamicActivationsAreReadBack) {
  ModelToSave model = int8(HeadKind::kNone);
  save_model_directory(out_, model);
  const ModelDirectory read = without_input_scales(ModelDirectory::open(out_));
  EXPECT_TRUE(read.config().dynamic_activations);
  const json config = json::parse(read.config().json);
  const json& group = config["quantization_config"]["config_groups"]["group_0"];
  EXPECT_EQ(group["input_activations"]["dynamic"], true);
  EXPECT_EQ(group["input_activations"]["strategy"], "token");
  EXPECT_EQ(group["weights"]["dynamic"], false);
  EXPECT_EQ(group["weights"]["strategy"], "channel");
}

TEST_F(SaveTest, SourceMayBeTheDestination) {
  fs::remove(source_ / "README.md");
  const ModelDirectory model = ModelDirectory::open(source_);
  std::vector<NamedTensor> tensors;
  for (const std::string& name : model.tensor_names())
    tensors.push_back({name, model.tensor(name)});
  save_model_directory(source_, {source_, model.config(), tensors, ""});
  EXPECT_EQ(ModelDirectory::open(source_).tensor("pooler.dense.weight").as<float>()[15], 2);
  EXPECT_EQ(read_file(source_ / "vocab.txt"), "[PAD]\n");
  EXPECT_EQ(model.tensor("pooler.dense.weight").as<float>()[15], 2);
}

TEST_F(SaveTest, ConfigWithoutAFile) {
  ModelToSave model = dense(HeadKind::kNone, 0);
  model.source.clear();
  model.config.json.clear();
  save_model_directory(out_, model);
  const ModelConfig read = ModelDirectory::open(out_).config();
  EXPECT_EQ(read.intermediate_size, 8);
  EXPECT_EQ(read.hidden_act, "gelu");
}

TEST_F(SaveTest, SameBytesEachTime) {
  save_model_directory(out_, int8(HeadKind::kNone));
  save_model_directory(folder_ / "again", int8(HeadKind::kNone));
  for (const char* name : {"config.json", "model.safetensors"}) {
    EXPECT_EQ(read_file(out_ / name), read_file(folder_ / "again" / name)) << name;
  }
}

TEST_F(SaveTest, RefusesContradictions) {
  ModelToSave model = int8(HeadKind::kNone);
  model.config.int8 = false;
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }),
              HasSubstr("config.int8 is false, but a tensor is int8"));
  model.config.int8 = model.config.dynamic_activations = true;
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }),
              HasSubstr("config.dynamic_activations is true, but a tensor is an input scale"));
  std::erase_if(model.tensors,
                [](const NamedTensor& t) { return t.name.ends_with(".input_scale"); });
  model.config.dynamic_activations = false;
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }),
              HasSubstr("config.dynamic_activations is false, but no tensor is an input scale"));
  model = dense(HeadKind::kClassification, 1);
  model.config.num_labels = 0;
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }), HasSubstr("without labels"));
  model = dense(HeadKind::kNone, 0);
  model.source = folder_ / "absent";
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }),
              HasSubstr("no such model directory"));
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(SaveTest, DoesNotReplaceAFolderOfOtherThings) {
  write_file_atomically(out_ / "thesis.tex", "years of work");
  EXPECT_THAT(error_of([&] { save_model_directory(out_, dense(HeadKind::kNone, 0)); }),
              AllOf(HasSubstr("/out]"), HasSubstr("other than a model: thesis.tex")));
  EXPECT_EQ(read_file(out_ / "thesis.tex"), "years of work");
}

TEST_F(SaveTest, DoesNotReplaceAConfigurationWithoutWeights) {
  write_file_atomically(out_ / "config.json", "{}");
  write_file_atomically(out_ / "vocab.txt", "[PAD]\n");
  EXPECT_THAT(error_of([&] { save_model_directory(out_, dense(HeadKind::kNone, 0)); }),
              AllOf(HasSubstr("/out]"), HasSubstr("holds config.json, but no weights")));
  EXPECT_EQ(read_file(out_ / "config.json"), "{}");
  fs::remove_all(out_);
  fs::create_directory(out_);
  save_model_directory(out_, dense(HeadKind::kNone, 0));
  EXPECT_EQ(error_of([&] { check_model_destination(out_); }), "no error");
  EXPECT_THAT(error_of([&] { check_model_destination(out_ / "config.json"); }),
              HasSubstr("is a file"));
}

TEST_F(SaveTest, DoesNotReplaceAModelWithOtherThingsBeside) {
  const ModelToSave model = int8(HeadKind::kEmbedding);
  save_model_directory(out_, model);
  save_model_directory(out_, model);
  const std::string before = read_file(out_ / "model.safetensors");
  for (const char* name : {"notes.txt", "1_Pooling/notes.txt", "checkpoints/model.safetensors"}) {
    write_file_atomically(out_ / name, "precious");
    EXPECT_THAT(error_of([&] { save_model_directory(out_, dense(HeadKind::kNone, 0)); }),
                HasSubstr(fs::path(name).begin()->string()));
    EXPECT_EQ(read_file(out_ / name), "precious");
    EXPECT_EQ(read_file(out_ / "model.safetensors"), before);
    fs::remove(out_ / name);
  }
}

TEST_F(SaveTest, FailureLeavesTheOldModel) {
  save_model_directory(out_, dense(HeadKind::kNone, 0));
  ModelToSave model = dense(HeadKind::kNone, 0);
  model.tensors.push_back(model.tensors[0]);
  EXPECT_THAT(error_of([&] { save_model_directory(out_, model); }),
              AllOf(HasSubstr("/out]"), HasSubstr("two tensors of one file")));
  EXPECT_EQ(ModelDirectory::open(out_).tensor_names().size(), 2u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

}  // namespace
}  // namespace twofour
