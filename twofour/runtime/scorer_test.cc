#include "twofour/runtime/scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/runtime/test_models.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

// Texts of a golden file's metadata; they own what the pairs point to.
struct Texts {
  explicit Texts(const Safetensors& golden) {
    const auto json = nlohmann::json::parse(golden.metadata().at("texts"));
    first = json["first"].get<std::vector<std::string>>();
    second = json["second"].get<std::vector<std::string>>();
    for (size_t i = 0; i < first.size(); ++i) {
      pairs.push_back({first[i]});
      if (!second.empty()) pairs.back().second = second[i];
    }
  }
  std::vector<std::string> first, second;
  std::vector<TextPair> pairs;
};

class GoldenTexts : public testing::TestWithParam<const char*> {
 protected:
  Safetensors golden_ = Safetensors::open(golden_path(GetParam()) / "golden.safetensors");
  std::shared_ptr<const Engine> engine_ = Engine::load(golden_path(GetParam()) / "model");
};

TEST_P(GoldenTexts, FromTextToOutput) {
  const Texts texts(golden_);
  const auto want = golden_.get("output").as<float>();
  for (int64_t tokens_per_batch : {1, 20, 4096}) {
    Scorer scorer(engine_, {2, 0, tokens_per_batch});
    const std::vector<float> found = scorer.run(texts.pairs);
    ASSERT_EQ(found.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(found[i], want[i], 1e-4) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, GoldenTexts,
                         testing::Values("minilm", "bge", "cross-encoder",
                                         "cross-encoder-regression"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Scorer, ScoresAreThoseOfTheRows) {
  const auto engine = Engine::load(golden_path("cross-encoder") / "model");
  Scorer scorer(engine);
  const std::vector<TextPair> pairs = {
      {"red shoe", "a blue shoe"}, {"cat", "city"}, {"forest bird", "owl"}};
  const std::vector<float> rows = scorer.run(pairs);
  const std::vector<Score> scores = scorer.score(pairs);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const Score want = score_from_output(std::span(rows).subspan(3 * i, 3), engine->config());
    EXPECT_EQ(scores[i].score, want.score);
    EXPECT_EQ(scores[i].predicted, want.predicted);
  }
  EXPECT_TRUE(scorer.score({}).empty());
}

TEST(Scorer, EmptySecondTextIsAPair) {
  const auto engine = Engine::load(golden_path("cross-encoder") / "model");
  Encoding encoding = engine->tokenizer().encode("red shoe", 16);
  encoding.ids.push_back(encoding.ids.back());  // [CLS] red shoe [SEP] [SEP]
  encoding.type_ids.push_back(1);
  const std::vector<int32_t> offsets = {0, static_cast<int32_t>(encoding.ids.size())};
  std::vector<float> want(3);
  Session(engine).run({encoding.ids, encoding.type_ids, offsets}, want);
  const std::vector<TextPair> empty = {{"red shoe", ""}}, alone = {{"red shoe"}};
  EXPECT_EQ(Scorer(engine).run(empty), want);
  EXPECT_NE(Scorer(engine).run(alone), want);
}

TEST(Scorer, RefusesBadOptions) {
  const auto engine = Engine::load(golden_path("cross-encoder") / "model");
  const int64_t most = engine->config().max_sequence_length;
  const std::string pair_range = "expected 5 to " + std::to_string(most);
  for (const int64_t max_length : {int64_t{-1}, int64_t{2}, most + 1}) {
    EXPECT_THAT(error_of([&] { Scorer scorer(engine, {.max_length = max_length}); }),
                HasSubstr("[max_length] is " + std::to_string(max_length) + ", expected 3 to "));
  }
  // With four tokens a pair would lose one of its texts; a text alone fits.
  Scorer four(engine, {.max_length = 4});
  const std::vector<TextPair> pair = {{"red shoe", "a blue shoe"}}, text = {{"red shoe"}};
  EXPECT_THAT(error_of([&] { four.score(pair); }), HasSubstr(pair_range));
  EXPECT_EQ(error_of([&] { four.score(text); }), "no error");
  EXPECT_EQ(error_of([&] { Scorer(engine, {.max_length = 5}).score(pair); }), "no error");
  EXPECT_THROW(Scorer(engine, {1, 0, 0}), Error);
  EXPECT_THROW(Scorer(engine, {0, 0, 1}), Error);
  const ModelDirectory encoder = ModelDirectory::open(golden_path("bert-uncased") / "model");
  EXPECT_THROW(Scorer(Engine::load(encoder)), Error);
  const ModelDirectory tokens =
      random_model({16, 2, 16, 1, HeadKind::kTokenClassification}, false, "scorer");
  EXPECT_THAT(error_of([&] { Scorer scorer(Engine::load(tokens)); }),
              HasSubstr("the model classifies tokens"));
}

}  // namespace
}  // namespace twofour
