// Sessions: batches of any shape, several at once, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "twofour/base/cpu_features.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/test_models.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

class SessionErrors : public testing::Test {
 protected:
  std::string error(std::vector<int32_t> ids, std::vector<int32_t> types,
                    std::vector<int32_t> offsets, size_t output = 3) {
    std::vector<float> out(output);
    return error_of([&] { session_.run({ids, types, offsets}, out); });
  }
  std::shared_ptr<const Engine> engine_ = Engine::load(golden_path("cross-encoder") / "model");
  Session session_{engine_};
};

TEST_F(SessionErrors, OfABatch) {
  EXPECT_EQ(error({1, 2}, {0, 0}, {0, 2}), "no error");
  EXPECT_THAT(error({1, 999}, {0, 0}, {0, 2}), HasSubstr("id 999 of token 1 is outside [0, 211)"));
  EXPECT_THAT(error({1, -1}, {0, 0}, {0, 2}), HasSubstr("id -1 of token 1 is outside"));
  EXPECT_THAT(error({1, 2}, {0, 2}, {0, 2}), HasSubstr("type id 2 of token 1 is outside [0, 2)"));
  EXPECT_THAT(error({1, 2}, {0}, {0, 2}), HasSubstr("there are 2 ids but 1 type ids"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {1, 2}), HasSubstr("offsets start at 1"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 2, 2}, 6), HasSubstr("sequence 1 is empty"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 2, 1}, 6), HasSubstr("offsets descend from 2 to 1"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 3}), HasSubstr("offsets end at 3 but there are 2 ids"));
  EXPECT_THAT(error({1, 2}, {0, 0}, {0, 2}, 4), HasSubstr("output has 4 floats: expected [1, 3]"));
  const std::vector<int32_t> many(65, 1), types(65, 0);
  EXPECT_THAT(error(many, types, {0, 65}),
              HasSubstr("sequence 0 has 65 tokens, the model has 64 positions"));
}

TEST_F(SessionErrors, NoSequenceIsNone) {
  EXPECT_EQ(error({}, {}, {}, 0), "no error");
  EXPECT_EQ(error({}, {}, {0}, 0), "no error");
  EXPECT_THAT(error({1}, {0}, {0}, 0), HasSubstr("there are 1 ids but no sequence"));
}

TEST_F(SessionErrors, AfterAnErrorTheSessionWorks) {
  EXPECT_NE(error({1, 999}, {0, 0}, {0, 2}), "no error");
  EXPECT_EQ(error({1, 2}, {0, 0}, {0, 2}), "no error");
}

// The classifier on every token: hidden state times its weights.
TEST(Session, TokenClassificationHasARowForEachToken) {
  const ModelDirectory model =
      random_model({64, 2, 128, 2, HeadKind::kTokenClassification}, false, "tokens");
  const auto engine = Engine::load(model),
             hidden = Engine::load(model.with_head(HeadKind::kNone, 0));
  const PackedTokens tokens = random_tokens(engine->network(), 9, 3, 60);
  const std::vector<float> states = run(hidden, tokens.batch()),
                           found = run(engine, tokens.batch());
  const auto weight = model.tensor("classifier.weight").as<float>();
  const auto bias = model.tensor("classifier.bias").as<float>();
  const auto labels = static_cast<size_t>(engine->output_width());
  ASSERT_EQ(labels, bias.size());
  ASSERT_EQ(found.size(), tokens.ids.size() * labels);
  std::vector<float> want;
  for (size_t token = 0; token < tokens.ids.size(); ++token) {
    for (size_t label = 0; label < labels; ++label) {
      double sum = bias[label];
      for (size_t i = 0; i < 64; ++i)
        sum += double{states[token * 64 + i]} * weight[label * 64 + i];
      want.push_back(static_cast<float>(sum));
    }
  }
  expect_close(found, want, 1e-4);
}

// Many chunks, and for each token a row of output.
TEST(Session, BatchGivesWhatItsSequencesGiveAlone) {
  const ModelDirectory model = golden_model("minilm");
  const auto engine = Engine::load(model.with_head(HeadKind::kNone, 0));
  const PackedTokens tokens = random_tokens(engine->network(), 40, 3, 60);
  std::vector<float> want;
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i) {
    const int32_t begin = tokens.offsets[i], length = tokens.offsets[i + 1] - begin;
    const std::vector<int32_t> offsets = {0, length};
    const std::vector<float> alone =
        run(engine, {std::span(tokens.ids).subspan(begin, length),
                     std::span(tokens.type_ids).subspan(begin, length), offsets});
    want.insert(want.end(), alone.begin(), alone.end());
  }
  for (int threads : {1, 2, 3}) EXPECT_EQ(run(engine, tokens.batch(), threads), want);
}

// Also with more threads than the machine has cores.
TEST(Session, ManyOfOneEngineAtOnce) {
  const auto engine = Engine::load(int8_model("cross-encoder", 2));
  const std::vector<int> threads = {1, 2, 1, available_cores() + 2};
  std::vector<PackedTokens> tokens;
  std::vector<std::vector<float>> want, found(threads.size());
  for (size_t i = 0; i < threads.size(); ++i) {
    tokens.push_back(random_tokens(engine->network(), 5 + static_cast<int>(i), i, 60));
    want.push_back(run(engine, tokens[i].batch()));
  }
  {
    std::vector<std::jthread> sessions;
    for (size_t i = 0; i < threads.size(); ++i) {
      sessions.emplace_back([&, i] {
        Session session(engine, {threads[i]});
        std::vector<float> output(want[i].size());
        for (int turn = 0; turn < 10; ++turn) session.run(tokens[i].batch(), output);
        found[i] = output;
      });
    }
  }
  EXPECT_EQ(found, want);
}

TEST(Session, SmallBatchesAfterLargeOnes) {
  const auto engine = Engine::load(int8_model("cross-encoder", 2));
  Session session(engine, {3});
  for (int sequences : {40, 1, 7, 2, 60, 3}) {
    const PackedTokens tokens = random_tokens(engine->network(), sequences, sequences, 60);
    std::vector<float> output(sequences * engine->output_width());
    session.run(tokens.batch(), output);
    EXPECT_EQ(output, run(engine, tokens.batch(), 1));
  }
}

}  // namespace
}  // namespace twofour
