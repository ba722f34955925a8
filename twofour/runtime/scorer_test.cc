#include "twofour/runtime/scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/runtime/test_models.h"

namespace twofour {
namespace {

using testing::HasSubstr;

// Texts of a golden file's metadata; they own what the pairs point to.
struct Texts {
  explicit Texts(const Safetensors& golden) {
    const auto json = nlohmann::json::parse(golden.metadata().at("texts"));
    first = json["first"].get<std::vector<std::string>>();
    second = json["second"].get<std::vector<std::string>>();
    second.resize(first.size());
    for (size_t i = 0; i < first.size(); ++i) pairs.push_back({first[i], second[i]});
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

TEST(Scorer, RefusesBadOptions) {
  const auto engine = Engine::load(golden_path("cross-encoder") / "model");
  EXPECT_THROW(Scorer(engine, {1, 100000, 1}), Error);
  EXPECT_THROW(Scorer(engine, {1, 0, 0}), Error);
  EXPECT_THROW(Scorer(engine, {0, 0, 1}), Error);
  EXPECT_THROW(Scorer(Engine::load(golden_path("bert-uncased") / "model")), Error);
}

}  // namespace
}  // namespace twofour
