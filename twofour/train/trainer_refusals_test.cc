// What training refuses, before it writes anything: requests that cannot work, and bad input.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <span>

#include "twofour/io/safetensors.h"
#include "twofour/train/trainer.h"
#include "twofour/train/trainer_test_support.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

// --- Requests that cannot work -----------------------------------------------------------------

std::string refusal(const TrainRequest& request) {
  fs::remove_all(request.out);
  const std::string message = message_of([&] { run_training(request, {}); });
  EXPECT_FALSE(fs::exists(request.out)) << "nothing is written";
  return message;
}

TEST(TrainerRefuses, AHeadOfAnotherWidth) {
  TrainRequest request = small_run("dense", "cross-encoder", "refused");
  request.overrides["num_labels"] = "5";
  EXPECT_THAT(refusal(request),
              HasSubstr("has a classifier with num_labels 3, the recipe asks for 5"));
}

TEST(TrainerRefuses, LabelsThatTheHeadLacks) {
  TrainRequest request = small_run("dense", "bert-uncased", "refused");
  request.overrides["num_labels"] = "2";
  EXPECT_THAT(refusal(request), AllOf(HasSubstr("en.tsv:"),
                                      HasSubstr("label 2 is no whole number from 0 to 1: recipe "
                                                "'dense' has num_labels 2. Correct the label, "
                                                "or raise num_labels, in the recipe or by --set")));
}

// Training data has labels 0 and 1, dev a 2.
TEST(TrainerRefuses, LabelsOfDevThatTrainingDataLacks) {
  TrainRequest request = small_run("dense", "bert-uncased", "refused");
  request.train_data = fs::path(testing::TempDir()) / "binary.tsv";
  write_file_atomically(request.train_data,
                        "query\tdocument\tlabel\nred cup\ta red cup\t1\nred cup\tlamp\t0\n");
  EXPECT_THAT(refusal(request),
              AllOf(HasSubstr("en.tsv:"),
                    HasSubstr("a new head for the labels of " + request.train_data.string() +
                              " has num_labels 2. Correct the label, or set "
                              "num_labels, in the recipe or by --set")));
}

TEST(TrainerRefuses, CrossEntropyOnARegressionHead) {
  EXPECT_THAT(refusal(small_run("dense", "cross-encoder-regression", "refused")),
              HasSubstr("has one output"));
}

// As predict does; a default of 128 is cut to what the model reads.
TEST(TrainerRefuses, ALengthThatTheModelDoesNotRead) {
  TrainRequest request = small_run("dense", "cross-encoder", "refused");
  const std::string expected = "max_length is 65, but " + request.model.string() +
                               " reads 64 tokens at most. Set it to 64 or less.";
  request.overrides["max_length"] = "65";
  EXPECT_EQ(refusal(request), "[--set max_length] " + expected);
  request.overrides.erase("max_length");
  request.recipe = write_recipe("too-long", R"(
name: too-long
max_length: 65
stages:
  - {name: first, steps: 1, losses: [{kind: cross_entropy}]}
)");
  EXPECT_EQ(refusal(request), "[" + request.recipe.string() + ":3] " + expected);
  request.overrides["max_length"] = "64";
  EXPECT_TRUE(run_afresh(request).finished);
}

// Every label is 1: no order to get right.
fs::path data_without_order() {
  const auto path = fs::path(testing::TempDir()) / "without-order.tsv";
  write_file_atomically(path, "query\tdocument\tlabel\nred cup\ta red cup\t1\nred cup\tcup\t1\n");
  return path;
}

TEST(TrainerRefuses, CrossEntropyOnOneLabel) {
  TrainRequest request = small_run("dense", "cross-encoder", "refused");
  request.train_data = data_without_order();
  EXPECT_THAT(refusal(request),
              HasSubstr("without-order.tsv] every label is 1: from one class cross_entropy learns "
                        "nothing. Add pairs with another label"));
}

TEST(TrainerRefuses, HeadsThatNobodyMeans) {
  TrainRequest request = small_run("dense", "bert-uncased", "refused");
  request.train_data = fs::path(testing::TempDir()) / "ids.tsv";
  write_file_atomically(request.train_data,
                        "query\tdocument\tlabel\nred cup\tlamp\t0\nred cup\tcup\t100000\n");
  EXPECT_THAT(
      refusal(request),
      HasSubstr("ids.tsv:3] label 100000 is no whole number from 0 to 999: the largest head "
                "that is made for labels alone has num_labels 1000. Correct the label, or "
                "set num_labels, in the recipe or by --set"));
}

TEST(TrainerRefuses, ToSelectByWhatDevDoesNotDefine) {
  TrainRequest request = small_run("dense", "cross-encoder", "refused");
  request.dev_data = data_without_order();
  request.overrides["select_metric"] = "pnr";
  const std::string message = refusal(request);
  EXPECT_THAT(message, HasSubstr("without-order.tsv] leaves pnr undefined for this model"));
  EXPECT_THAT(message, HasSubstr("Set select_metric to one of these: accuracy, f1@345, ndcg@10"));
}

// Which evaluations would ask for.
TEST(TrainerRefuses, AKernelThatIsNotThere) {
  const TrainRequest request = small_run("dense", "cross-encoder", "refused");
  ASSERT_EQ(setenv("TWOFOUR_FORCE_KERNEL", "matmul_s8_cublaslt", 1), 0);
  EXPECT_THAT(refusal(request),
              HasSubstr("[TWOFOUR_FORCE_KERNEL] no kernel is named 'matmul_s8_cublaslt'"));
  ASSERT_EQ(unsetenv("TWOFOUR_FORCE_KERNEL"), 0);
}

TEST(TrainerRefuses, ToSelectARegressionHeadByAccuracy) {
  TrainRequest request = small_run("dense", "cross-encoder-regression", "refused");
  request.overrides["stages.*.losses"] = "[{kind: mse}]";
  request.overrides["select_metric"] = "accuracy";
  const std::string message = refusal(request);
  EXPECT_THAT(message, HasSubstr("leaves accuracy undefined for this model"));
  EXPECT_THAT(message, HasSubstr("Set select_metric to one of these: f1@345, ndcg@10, pnr"));
}

TEST(TrainerRefuses, ATeacherWithoutHead) {
  EXPECT_THAT(refusal(small_run("one-shot-kd", "bert-uncased", "refused")),
              HasSubstr("has no trained classifier"));
}

TEST(TrainerRefuses, ATeacherWithOtherTokens) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = golden_model("bert-chinese");
  EXPECT_THAT(refusal(request), HasSubstr("another vocabulary"));
}

// The model of golden/cross-encoder with another text in one of its files.
fs::path changed_model(const std::string& file, const std::string& from, const std::string& to) {
  const fs::path path = fs::path(testing::TempDir()) / "changed-model";
  fs::remove_all(path);
  fs::copy(golden_model("cross-encoder"), path, fs::copy_options::recursive);
  std::string content = read_file(path / file);
  const size_t place = content.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  write_file_atomically(path / file, content.replace(place, from.size(), to));
  return path;
}

TEST(TrainerRefuses, ATeacherWithoutRowsForWhatItReads) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = changed_model("config.json", "\"max_position_embeddings\": 64",
                                  "\"max_position_embeddings\": 48");
  EXPECT_THAT(refusal(request), HasSubstr("changed-model] reads 48 tokens at most, but sequences "
                                          "may have 64. Set max_length to 48 or less."));
  request.teacher =
      changed_model("config.json", "\"type_vocab_size\": 2", "\"type_vocab_size\": 1");
  EXPECT_THAT(refusal(request), HasSubstr("has type_vocab_size 1, but pairs of texts want 2"));
  request.model = request.teacher;
  request.teacher.clear();
  EXPECT_THAT(refusal(request), HasSubstr("has type_vocab_size 1, but pairs of texts want 2"));
}

TEST(TrainerRefuses, ATeacherWithTheSameNumberOfOtherTokens) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = changed_model("vocab.txt", "!\n\"\n", "\"\n!\n");
  EXPECT_THAT(refusal(request), HasSubstr("another vocabulary than the model that it teaches: "
                                          "token 5 is '\"', expected '!'"));
}

TEST(TrainerRefuses, RelationHeadsThatDivideNoHiddenSize) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.overrides["stages.*.losses"] = "[{kind: minilm_v2, relation_heads: 3}]";
  EXPECT_THAT(refusal(request), HasSubstr("has a hidden size of 32, which the 3 relation heads of "
                                          "stage 'sparse' do not divide"));
  request.teacher = golden_model("bert-uncased");
  request.overrides["stages.*.losses"] = "[{kind: minilm_v2, relation_heads: 32}]";
  EXPECT_THAT(refusal(request), HasSubstr("bert-uncased/model] has a hidden size of 16, which the "
                                          "32 relation heads"));
}

TEST(TrainerRefuses, ATeacherOfAnotherShape) {
  TrainRequest request = small_run("one-shot-kd", "cross-encoder", "refused");
  request.teacher = golden_model("bert-uncased");
  EXPECT_THAT(refusal(request), HasSubstr("has num_hidden_layers 2 and hidden_size 16, the model 2 "
                                          "and 32: 'hidden_states' compares them one by one"));
}

TEST(TrainerRefuses, ScalesThatOnlyASkippedStageWouldFind) {
  const fs::path recipe = write_recipe("skipped-calibration", R"(
name: skipped-calibration
stages:
  - {name: first, only_untrained_head: true, calibrate: max}
  - {name: int8, steps: 4, fake_quantize: true, losses: [{kind: cross_entropy}]}
)");
  EXPECT_THAT(refusal(small_run(recipe.string(), "cross-encoder", "refused")),
              HasSubstr("stage 'int8' needs scales, but only a stage for untrained heads"));
}

TEST(TrainerRefuses, LayersThatAreNotThere) {
  TrainRequest request = small_run("one-shot", "cross-encoder", "refused");
  request.overrides["keep_dense"] = "[\"encoder.layer.77.*\"]";
  EXPECT_THAT(refusal(request), HasSubstr("encoder.layer.77.*"));
}

TEST(TrainerRefuses, AFolderThatHoldsARun) {
  const TrainRequest request = small_run("int8-ptq", "cross-encoder", "taken");
  run_afresh(request);
  const auto before = contents_of(request.out);
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              testing::EndsWith("holds a run already, which has finished. Choose another folder."));
  EXPECT_EQ(contents_of(request.out), before);
}

TEST(TrainerRefuses, AFolderOfOtherThings) {
  TrainRequest request = small_run("dense", "cross-encoder", "foreign");
  const auto refused = [&] {
    const auto before = contents_of(request.out);
    const std::string message = message_of([&] { run_training(request, {}); });
    EXPECT_EQ(contents_of(request.out), before);
    return message;
  };
  fs::remove_all(request.out);
  write_file_atomically(request.out / "notes.txt", "precious");
  EXPECT_THAT(refused(), HasSubstr("holds something other than a run: notes.txt. Choose another"));
  fs::remove_all(request.out);
  fs::copy(request.model, request.out, fs::copy_options::recursive);
  EXPECT_THAT(refused(), HasSubstr("holds something other than a run: config.json"));
}

TEST(TrainerRefuses, PlacesThatCannotBeWritten) {
  TrainRequest request = small_run("dense", "cross-encoder", "unwritable");
  fs::remove_all(request.out);
  write_file_atomically(request.out, "a file");
  const fs::path file = request.out;
  for (const fs::path& out : {file, file / "run"}) {
    request.out = out;
    EXPECT_THAT(message_of([&] { run_training(request, {}); }),
                HasSubstr("[" + file.string() + "] is not a folder"));
  }
  EXPECT_EQ(read_file(file), "a file");
  // Nobody makes folders there; what the system says differs between root and others.
  request.out = "/proc/twofour-run";
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              testing::ContainsRegex("^\\[/proc[^]]*] cannot be (made|written): [A-Z].*folder"));
}

TEST(TrainerRefuses, ToResumeWhatIsNotThere) {
  TrainRequest request = small_run("dense", "cross-encoder", "nothing-to-resume");
  request.resume = true;
  EXPECT_THAT(refusal(request), HasSubstr("holds no run to resume. Start it without --resume"));
}

TEST(TrainerRefuses, ARunWithoutCheckpointUntilItsLogIsRemoved) {
  TrainRequest request = small_run("dense", "cross-encoder", "diverged");
  request.overrides["stages.0.learning_rate.peak"] = "1e30";
  EXPECT_THAT(message_of([&] { run_afresh(request); }), HasSubstr("training has diverged"));
  request.overrides.erase("stages.0.learning_rate.peak");
  EXPECT_THAT(message_of([&] { run_training(request, {}); }),
              AllOf(HasSubstr("log.jsonl] is of a run that has left no checkpoint"),
                    HasSubstr("Remove it to start again")));
  fs::remove(request.out / "log.jsonl");
  EXPECT_TRUE(run_training(request, {}).finished);
}

// --- Bad input ---------------------------------------------------------------------------------

using Content = std::function<std::string(const std::string& good)>;

Content text(const std::string& content) {
  return [content](const std::string&) { return content; };
}

Content half() {
  return [](const std::string& good) { return good.substr(0, good.size() / 2); };
}

// A safetensors file whose header is said to have another length.
Content claiming(uint64_t (*length)(uint64_t actual)) {
  return [length](std::string bytes) {
    uint64_t claimed = 0;
    std::memcpy(&claimed, bytes.data(), sizeof claimed);
    claimed = length(claimed);
    std::memcpy(bytes.data(), &claimed, sizeof claimed);
    return bytes;
  };
}

using Tensors = std::map<std::string, Tensor>;
const std::string kQuery = "bert.encoder.layer.0.attention.self.query.weight";

Content with_tensors(void (*change)(Tensors&)) {
  return [change](const std::string& good) {
    const Safetensors file = Safetensors::from_memory(std::as_bytes(std::span(good)), "good");
    Tensors tensors;
    for (const std::string& name : file.names()) tensors[name] = Tensor(file.get(name));
    change(tensors);
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors) named.push_back({name, tensor.view()});
    const auto path =
        fs::path(testing::TempDir()) / fmt::format("spoiled.{}.safetensors", getpid());
    write_safetensors(path, named);
    std::string bytes = read_file(path);
    fs::remove(path);
    return bytes;
  };
}

// One file of a request that is good but for it.
struct BadInput {
  std::string name;
  std::string file;
  Content content;
  std::string where;   // end of the place that the message begins with
  std::string remedy;  // end of the message
};

class BadInputIsRefused : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputIsRefused, WithFileAndRemedy) {
  const BadInput& bad = GetParam();
  TrainRequest request = small_run("dense", "cross-encoder", "bad-" + bad.name);
  const fs::path folder = fs::path(testing::TempDir()) / ("bad-input-" + bad.name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy(request.model, folder / "model", fs::copy_options::recursive);
  fs::copy(request.train_data, folder / "data.tsv");
  fs::copy(request.recipe, folder / "recipe.yaml");
  write_file_atomically(folder / bad.file, bad.content(read_file(folder / bad.file)));
  request.model = folder / "model";
  request.train_data = folder / "data.tsv";
  request.recipe = folder / "recipe.yaml";
  const std::string message = refusal(request);
  EXPECT_THAT(message, testing::StartsWith("[" + (folder / bad.file).string()));
  EXPECT_THAT(message, HasSubstr(bad.where + "] "));
  EXPECT_THAT(message, testing::EndsWith(". " + bad.remedy));
}

const std::string kHeader = "query\tdocument\tlabel\n";
const std::string kWeights = "model/model.safetensors";
const std::string kDamaged = "The file is damaged or incomplete: fetch it again";
const std::string kOther =
    "The file is incomplete, or config.json is of another model: take both from one";

std::string recipe_of_stages(const std::string& first, const std::string& second) {
  return fmt::format("name: bad\nstages:\n  - {{name: a, {}}}\n  - {{name: b, {}}}\n", first,
                     second);
}

INSTANTIATE_TEST_SUITE_P(
    Trainer, BadInputIsRefused,
    testing::Values(
        BadInput{"Truncated", kWeights, half(), "", kDamaged},
        BadInput{"TruncatedInTheLength", kWeights, text("1234"), kWeights, kDamaged},
        BadInput{"OversizedHeader", kWeights, claiming([](uint64_t) { return uint64_t{1} << 40; }),
                 kWeights, "It is no safetensors file, or it is damaged"},
        BadInput{"HeaderBeyondTheFile", kWeights,
                 claiming([](uint64_t) { return uint64_t{99'999'999}; }), kWeights, kDamaged},
        BadInput{"HeaderThatLies", kWeights, claiming([](uint64_t actual) { return actual / 2; }),
                 kWeights, kDamaged},
        BadInput{"HeaderThatLiesOfData", kWeights,
                 claiming([](uint64_t actual) { return actual + 8; }), kWeights, kDamaged},
        BadInput{"MissingTensor", kWeights, with_tensors([](Tensors& all) { all.erase(kQuery); }),
                 kWeights + ": encoder.layer.0.attention.self.query.weight", kOther},
        BadInput{"WrongShape", kWeights, with_tensors([](Tensors& all) {
                   all[kQuery] = Tensor(all["classifier.bias"].view());
                 }),
                 kWeights + ": " + kQuery, kOther},
        BadInput{"NotANumber", kWeights, with_tensors([](Tensors& all) {
                   all[kQuery].as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
                 }),
                 kWeights + ": " + kQuery,
                 "The training that wrote it has diverged, or the file is damaged: take another "
                 "model"},
        BadInput{"OtherNetwork", "model/config.json", text(R"({"model_type": "gpt2"})"),
                 "model/config.json", "Supported: bert"},
        BadInput{"ConfigurationThatIsNoJson", "model/config.json", half(), "model/config.json",
                 "Correct it there, or fetch the file again"},
        BadInput{"WrongColumns", "data.tsv", text("query\ttext\tlabel\nq\td\t1\n"), "data.tsv:1",
                 "The first line names the columns query, document and label, separated by tabs"},
        BadInput{"WrongFields", "data.tsv", text(kHeader + "q\td\n"), "data.tsv:2",
                 "Fields are separated by single tabs and hold none"},
        BadInput{"BadLabel", "data.tsv", text(kHeader + "q\td\tgood\n"), "data.tsv:2",
                 "A label is a number, such as 0, 1 or 0.5: the larger, the more relevant"},
        BadInput{"LabelThatTheHeadLacks", "data.tsv", text(kHeader + "q\td\t7\n"), "data.tsv:2",
                 "Correct the label, or start from an encoder without classifier"},
        BadInput{"BadEncoding", "data.tsv", text(kHeader + "q\tcaf\xE9\t1\n"), "data.tsv:2",
                 "Convert the file to UTF-8, for example with iconv"},
        BadInput{"EmptyText", "data.tsv", text(kHeader + "q\t \t1\n"), "data.tsv:2",
                 "Give it a text, or remove the line"},
        BadInput{"EmptyFile", "data.tsv", text(""), "data.tsv",
                 "Name a file that holds pairs or texts"},
        BadInput{"NoPairs", "data.tsv", text(kHeader), "data.tsv",
                 "A line for each pair follows the header"},
        BadInput{"UnknownKey", "recipe.yaml", text(recipe_of_stages("sparsty: 0.5", "steps: 1")),
                 "recipe.yaml:3", "Did you mean 'sparsity'?"},
        BadInput{"SparsityThatFalls", "recipe.yaml",
                 text(recipe_of_stages("sparsity: 0.5", "sparsity: 0.25")), "recipe.yaml:4",
                 "Let it rise from stage to stage, or set 'regrowth: true'."},
        BadInput{"SparsityBeyond2To4", "recipe.yaml",
                 text(recipe_of_stages("sparsity: 0.75", "sparsity: 0.75")), "recipe.yaml:3",
                 "Set it to 0.5, two of four weights, or less."},
        BadInput{"QuantizationWithoutScales", "recipe.yaml",
                 text(recipe_of_stages("sparsity: 0.5", "write_int8: true")), "recipe.yaml:4",
                 "Set 'calibrate' here or in an earlier stage."},
        BadInput{"LossesWithoutSteps", "recipe.yaml",
                 text(recipe_of_stages("epochs: 0, losses: [{kind: cross_entropy}]", "steps: 1")),
                 "recipe.yaml:3",
                 "A stage trains with 'steps' or 'epochs' above 0 and losses, or has neither."}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace twofour
