#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <random>

#include "apps/pictures/painter.h"
#include "apps/pictures/picture.h"
#include "apps/testing.h"
#include "twofour/base/error.h"

namespace twofour::pictures {
namespace {

namespace fs = std::filesystem;
using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;
using testing::ThrowsMessage;

constexpr int kCodes = 8;
constexpr int kWidth = 16;
const fs::path kData = fs::path(TWOFOUR_SOURCE_DIR) / "data/emoji-pictures";

// --- A small model -----------------------------------------------------------------------------

struct Files {
  std::map<std::string, std::string> texts;

  ModelDirectory model() const {
    std::map<std::string, std::span<const std::byte>> views;
    for (const auto& [name, text] : texts) {
      views[name] = {reinterpret_cast<const std::byte*>(text.data()), text.size()};
    }
    return ModelDirectory::from_memory(views, "small");
  }
};

class Safetensors {
 public:
  // Small random numbers, or `value`.
  void add(const std::string& name, const std::vector<int>& shape,
           std::optional<float> value = {}) {
    std::normal_distribution<float> normal(0, 0.3F);
    size_t count = 1;
    std::string dims;
    for (const int dim : shape) {
      count *= static_cast<size_t>(dim);
      dims += fmt::format("{}{}", dims.empty() ? "" : ",", dim);
    }
    const size_t begin = data_.size();
    for (size_t i = 0; i < count; ++i) {
      const float x = value ? *value : normal(random_);
      data_.append(reinterpret_cast<const char*>(&x), sizeof x);
    }
    header_ += fmt::format(R"({}"{}":{{"dtype":"F32","shape":[{}],"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, dims, begin, data_.size());
  }
  // The last tensor's element.
  void set_last(size_t index, size_t count, float value) {
    std::memcpy(data_.data() + data_.size() - (count - index) * sizeof value, &value, sizeof value);
  }
  std::string bytes() const {
    const std::string header = "{" + header_ + "}";
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header + data_;
  }

 private:
  std::mt19937 random_{1};
  std::string header_, data_;
};

// `likely`: a code whose bias outweighs everything; none if negative.
Files small_model(int likely = -1, const std::string& architecture = "BertForTokenClassification",
                  char32_t first = kFirstCharacter) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nemoji\nred\nheart\n";
  for (int code = 0; code < kCodes; ++code) {
    const char32_t c = first + code;
    vocabulary += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
                   static_cast<char>(0x80 | (c & 0x3F)), '\n'};
  }
  std::string labels;
  for (int i = 0; i < kCodes; ++i) labels += fmt::format("{}\"{}\":\"x{}\"", i ? "," : "", i, i);
  Safetensors t;
  const auto linear = [&](const std::string& name, int n, int k) {
    t.add(name + ".weight", {n, k});
    t.add(name + ".bias", {n});
  };
  const auto norm = [&](const std::string& name) {
    t.add(name + ".weight", {kWidth}, 1.0F);
    t.add(name + ".bias", {kWidth}, 0.0F);
  };
  t.add("bert.embeddings.word_embeddings.weight", {8 + kCodes, kWidth});
  t.add("bert.embeddings.position_embeddings.weight", {96, kWidth});
  t.add("bert.embeddings.token_type_embeddings.weight", {2, kWidth});
  norm("bert.embeddings.LayerNorm");
  const std::string layer = "bert.encoder.layer.0.";
  for (const char* part : {"query", "key", "value"})
    linear(layer + "attention.self." + part, kWidth, kWidth);
  linear(layer + "attention.output.dense", kWidth, kWidth);
  norm(layer + "attention.output.LayerNorm");
  linear(layer + "intermediate.dense", 32, kWidth);
  linear(layer + "output.dense", kWidth, 32);
  norm(layer + "output.LayerNorm");
  if (architecture == "BertForSequenceClassification") linear("bert.pooler.dense", kWidth, kWidth);
  linear("classifier", kCodes, kWidth);
  if (likely >= 0) t.set_last(static_cast<size_t>(likely), kCodes, 1000);
  Files files;
  files.texts["vocab.txt"] = vocabulary;
  files.texts["model.safetensors"] = t.bytes();
  files.texts["config.json"] = fmt::format(
      R"({{"model_type":"bert","architectures":["{}"],"vocab_size":{},"hidden_size":{},"num_hidden_layers":1,)"
      R"("num_attention_heads":2,"intermediate_size":32,"max_position_embeddings":96,"id2label":{{{}}}}})",
      architecture, 8 + kCodes, kWidth, labels);
  return files;
}

std::vector<Codes> paint(const Files& files, const std::vector<std::string>& prompts,
                         const PaintOptions& options = {}) {
  return Painter(files.model(), {}, 1).paint(prompts, options);
}

// --- Painter -----------------------------------------------------------------------------------

TEST(Painter, FillsEveryPlace) {
  const auto pictures =
      paint(small_model(), {"red heart", "heart", "words that it has never seen"});
  ASSERT_THAT(pictures, SizeIs(3));
  for (const Codes& picture : pictures) {
    EXPECT_THAT(picture, SizeIs(kTokens));
    EXPECT_THAT(picture, Each(testing::AllOf(testing::Ge(0), testing::Lt(kCodes))));
  }
}

TEST(Painter, IsAFunctionOfPromptAndSeed) {
  const Files model = small_model();
  const auto both = paint(model, {"red", "heart"});
  EXPECT_EQ(paint(model, {"heart"})[0], both[1]);
  EXPECT_NE(both[0], both[1]);
  EXPECT_NE(paint(model, {"heart"}, {.seed = 2})[0], both[1]);
}

// Training hides patches behind the token that the model's files name.
TEST(Painter, HidesPatchesAsTheModelsFilesSay) {
  Files model = small_model();
  model.texts["vocab.txt"].replace(model.texts["vocab.txt"].find("[MASK]"), 6, "<mask>");
  model.texts["tokenizer_config.json"] = R"({"mask_token": "<mask>"})";
  EXPECT_EQ(paint(model, {"red"}), paint(small_model(), {"red"}));
}

TEST(Painter, DrawsWhatTheModelIsSureOf) {
  for (const int steps : {1, 7, kTokens}) {
    EXPECT_THAT(paint(small_model(5), {"red"}, {.steps = steps})[0], Each(5)) << steps;
  }
}

// What a look at a picture gives: logits [kTokens, kCodes]. `word`: the token of the prompt.
std::vector<float> look(const Files& files, const Codes& codes, int32_t word) {
  constexpr int32_t kStart = 2, kEnd = 3, kMask = 4, kFirstPatch = 8;
  std::vector<int32_t> ids = {kStart};
  for (const int32_t code : codes) ids.push_back(code < 0 ? kMask : kFirstPatch + code);
  ids.insert(ids.end(), {kEnd, word, kEnd});
  std::vector<int32_t> types(ids.size(), 0);
  types[ids.size() - 2] = types[ids.size() - 1] = 1;
  const std::vector<int32_t> offsets = {0, static_cast<int32_t>(ids.size())};
  Session session(Engine::load(files.model()), {.threads = 1});
  std::vector<float> output(ids.size() * kCodes);
  session.run({ids, types, offsets}, output);
  return {output.begin() + kCodes, output.begin() + kCodes + kTokens * kCodes};
}

constexpr int32_t kEmoji = 5, kRed = 6;
constexpr PaintOptions kSure = {.guidance = 0, .temperature = 0, .choice_temperature = 0};

std::span<const float> row_of(const std::vector<float>& logits, int place) {
  return std::span(logits).subspan(place * kCodes, kCodes);
}
int32_t likeliest(std::span<const float> row) {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}
double confidence(std::span<const float> row) {
  double sum = 0;
  for (const float x : row) sum += std::exp(x - *std::ranges::max_element(row));
  return -std::log(sum);
}

// After the first of two steps cos(pi / 4) of the places, rounded down, are still hidden.
TEST(Painter, KeepsTheSurestOfEachStep) {
  const Files model = small_model();
  PaintOptions two = kSure;
  two.steps = 2;
  const Codes found = paint(model, {"red"}, two)[0];
  const std::vector<float> first = look(model, Codes(kTokens, -1), kRed);
  std::vector<int> places(kTokens);
  std::iota(places.begin(), places.end(), 0);
  std::ranges::stable_sort(places, std::greater{},
                           [&](int place) { return confidence(row_of(first, place)); });
  Codes kept(kTokens, -1);
  for (int i = 0; i < kTokens - 45; ++i) {
    kept[places[i]] = likeliest(row_of(first, places[i]));
    EXPECT_EQ(found[places[i]], kept[places[i]]) << places[i];
  }
  const std::vector<float> second = look(model, kept, kRed);
  for (int i = kTokens - 45; i < kTokens; ++i) {
    EXPECT_EQ(found[places[i]], likeliest(row_of(second, places[i]))) << places[i];
  }
}

TEST(Painter, GuidancePullsTowardsThePrompt) {
  const Files model = small_model();
  PaintOptions guided = kSure;
  guided.steps = 1;
  guided.guidance = 3;
  const Codes found = paint(model, {"red"}, guided)[0];
  const std::vector<float> with = look(model, Codes(kTokens, -1), kRed);
  const std::vector<float> without = look(model, Codes(kTokens, -1), kEmoji);
  int moved = 0;
  for (int place = 0; place < kTokens; ++place) {
    std::vector<float> row;
    for (int code = 0; code < kCodes; ++code) {
      row.push_back(4 * with[place * kCodes + code] - 3 * without[place * kCodes + code]);
    }
    EXPECT_EQ(found[place], likeliest(row)) << place;
    moved += found[place] != likeliest(row_of(with, place));
  }
  EXPECT_GT(moved, 0) << "the test sees no guidance";
}

TEST(Painter, RefusesStepsThatCannotBe) {
  for (const int steps : {0, -1, kTokens + 1}) {
    EXPECT_THAT([&] { paint(small_model(), {"red"}, {.steps = steps}); },
                ThrowsMessage<Error>(HasSubstr("must lie in [1, 64]")));
  }
}

TEST(Painter, DrawsManyAsItDrawsOne) {
  const std::vector<std::string> prompts(70, "red");
  for (const Codes& picture : paint(small_model(), prompts, {.steps = 2})) {
    EXPECT_EQ(picture, paint(small_model(), {"red"}, {.steps = 2})[0]);
  }
}

TEST(Painter, CutsLongPromptsAndRefusesEmptyOnes) {
  std::string endless;
  for (int i = 0; i < 2000; ++i) endless += "heart ";
  EXPECT_THAT(paint(small_model(), {endless})[0], SizeIs(kTokens));
  EXPECT_THAT([&] { paint(small_model(), {" \t"}); }, ThrowsMessage<Error>(HasSubstr("is empty")));
}

TEST(Painter, RefusesModelsThatDoNotDraw) {
  const Files scores = small_model(-1, "BertForSequenceClassification");
  EXPECT_THAT([&] { Painter(scores.model(), {}, 1); },
              ThrowsMessage<Error>(HasSubstr("[small] does not classify tokens")));
  const Files others = small_model(-1, "BertForTokenClassification", 0x4E00);
  EXPECT_THAT([&] { Painter(others.model(), {}, 1); },
              ThrowsMessage<Error>(HasSubstr("[small] has no token for the first patch")));
  Files unmasked = small_model();
  unmasked.texts["vocab.txt"].replace(unmasked.texts["vocab.txt"].find("[MASK]"), 6, "<mask>");
  EXPECT_THAT([&] { Painter(unmasked.model(), {}, 1); },
              ThrowsMessage<Error>(HasSubstr("[small] has no token that hides patches")));
  Files narrow = small_model();
  narrow.texts["tokenizer_config.json"] = R"({"model_max_length": 67})";
  EXPECT_THAT([&] { Painter(narrow.model(), {}, 1); },
              ThrowsMessage<Error>(HasSubstr("[small] reads 67 tokens at most")));
}

// --- Pictures ----------------------------------------------------------------------------------

TEST(Picture, IsTheSameAfterItsFile) {
  const fs::path file = scratch() / "x.png";
  Image image(5, 3, 7);
  image.pixels[4] = 200;
  write_png(file, image);
  const Image read = read_png(file);
  EXPECT_EQ(read.width, 5);
  EXPECT_EQ(read.height, 3);
  EXPECT_EQ(read.pixels, image.pixels);
}

TEST(Picture, EnlargesPixelByPixel) {
  Image image(2, 1, 0);
  image.pixels = {1, 2, 3, 4, 5, 6};
  EXPECT_THAT(enlarged(image, 2).pixels,
              testing::ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6,  //
                                   1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
}

TEST(Picture, BadFilesAreNamed) {
  const fs::path folder = scratch();
  EXPECT_THAT([&] { read_png(folder / "none.png"); }, ThrowsMessage<Error>(HasSubstr("none.png")));
  std::ofstream(folder / "text.png") << "no picture";
  EXPECT_THAT([&] { Codebook::read(folder / "text.png"); },
              ThrowsMessage<Error>(HasSubstr("text.png")));
  write_png(folder / "odd.png", Image(6, 4, 0));
  EXPECT_THAT([&] { Codebook::read(folder / "odd.png"); },
              ThrowsMessage<Error>(HasSubstr("6 x 4 pixels")));
  EXPECT_THAT([&] { write_png(folder / "missing" / "x.png", Image(1, 1, 0)); },
              ThrowsMessage<Error>(HasSubstr("missing")));
  fs::create_directory(folder / "taken.png");
  EXPECT_THAT([&] { write_png(folder / "taken.png", Image(1, 1, 0)); },
              ThrowsMessage<Error>(HasSubstr("taken.png] cannot be written: Is a directory")));
  EXPECT_FALSE(fs::exists(folder / "taken.png.part"));
}

TEST(Codebook, PutsPatchesInReadingOrder) {
  const Codebook codebook = Codebook::read(kData / "codebook.png");
  ASSERT_EQ(codebook.size(), 1024);
  const Image sheet = read_png(kData / "codebook.png");
  Codes codes(kTokens, 0);  // white
  codes[9] = 33;            // second row and column; second row of the sheet, second patch
  const Image picture = codebook.decode(codes);
  EXPECT_EQ(picture.width, kPixels);
  for (int y = 0; y < kPixels; ++y) {
    for (int x = 0; x < kPixels; ++x) {
      const bool patch = x / kPatch == 1 && y / kPatch == 1;
      const int expected =
          patch ? sheet.pixels[(static_cast<size_t>(y) * sheet.width + x) * 3] : 255;
      ASSERT_EQ(picture.pixels[(static_cast<size_t>(y) * kPixels + x) * 3], expected) << x << y;
    }
  }
}

TEST(Codebook, TextOfCodesIsThatOfTheData) {
  EXPECT_EQ(text_of({0, 1, 1023}), "\u3400\u3401\u37ff");
}

// --- The program -------------------------------------------------------------------------------

TEST(PicturesProgram, DrawsMeasuresAndRefuses) {
  const fs::path folder = scratch();
  fs::create_directory(folder / "model");
  for (const auto& [name, text] : small_model().texts)
    std::ofstream(folder / "model" / name, std::ios::binary) << text;
  write_png(folder / "codebook.png", Image(kCodes * kPatch, kPatch, 0));
  const std::string model = folder / "model", out = folder / "x.png";
  const std::string own = " --codebook " + (folder / "codebook.png").string();
  const auto expect = [](int code, const std::string& message, const std::string& arguments) {
    expect_run(code, message, "twofour-pictures " + arguments);
  };
  const std::string draw = "draw " + model + " --steps 1 --out " + out + own;
  const std::string red = " --prompt red";
  expect(1, "[prompts] there are none", draw);
  expect(1, "holds a tab or a line break", draw + " --prompt 'red\theart'");
  expect(1, "names 2 precisions for 1 models", draw + red + " --precision f32,bf16");
  const std::string other = " --codebook " + (kData / "codebook.png").string();
  expect(1, "has 1024 patches, the model " + model + " draws with 8",
         "draw " + model + red + " --out " + out + other);
  expect(1, "[" + model + "/none", "draw " + model + "/none" + red + " --out " + out + own);
  expect(2, "there is no folder", "draw " + model + red + " --out " + out + "/none/x.png" + own);
  expect(2, "--colour", draw + red + " --colour red");
  EXPECT_FALSE(fs::exists(out));
  expect(0, "", draw + red + red);
  EXPECT_EQ(read_png(out).width, 3 * (2 * (kPixels + 1) + 1));
  expect(0, "\"times_as_fast\"",
         "bench " + model + red + " --against " + model + " --steps 1 --rounds 1");
}

}  // namespace
}  // namespace twofour::pictures
