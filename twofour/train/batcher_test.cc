#include "twofour/train/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "twofour/base/error.h"

namespace twofour {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// A token for each letter; type 1 for the second text.
class LetterTokenizer : public Tokenizer {
 public:
  Encoding encode(std::string_view text, int64_t max_length) const override {
    Encoding encoding;
    for (const char letter : text.substr(0, max_length)) {
      encoding.ids.push_back(letter);
      encoding.type_ids.push_back(0);
    }
    return encoding;
  }
  Encoding encode_pair(std::string_view first, std::string_view second,
                       int64_t max_length) const override {
    Encoding encoding = encode(first, max_length);
    for (const char letter : second) {
      encoding.ids.push_back(letter);
      encoding.type_ids.push_back(1);
    }
    return encoding;
  }
  int64_t vocab_size() const override { return 256; }
  std::string_view token(int32_t) const override { return ""; }
  std::span<const int32_t> special_ids() const override { return {}; }
  int32_t mask_id() const override { return -1; }
};

// `queries` queries with 10 documents each, of 1 to 50 letters; labels 0, 0, 0, 0, 1, 0, 0, 0,
// 0, 1.
Dataset make_data(int queries) {
  Dataset data;
  data.origin = "made.tsv";
  for (int q = 0; q < queries; ++q) {
    data.query_ids.push_back(std::to_string(q));
    data.queries.push_back("query" + std::to_string(q));
    for (int d = 0; d < 10; ++d) {
      const int document = q * 10 + d;
      data.documents.push_back(std::string(1 + document * 7 % 50, 'a' + d));
      data.pairs.push_back({q, document, d % 5 == 4 ? 1.0F : 0.0F});
    }
  }
  return data;
}

class BatcherTest : public testing::Test {
 protected:
  Dataset data = make_data(50);
  ThreadPool pool{3};
  TokenStore pairs = TokenStore::of_pairs(data, LetterTokenizer(), 64, pool);
  TokenStore texts = TokenStore::of_texts(data, LetterTokenizer(), 64, pool);
};

std::vector<int32_t> all_pairs(const std::vector<Batch>& batches) {
  std::vector<int32_t> all;
  for (const Batch& batch : batches) all.insert(all.end(), batch.pairs.begin(), batch.pairs.end());
  std::ranges::sort(all);
  return all;
}

TEST_F(BatcherTest, StoresSequencesInOrder) {
  EXPECT_EQ(pairs.size(), 500);
  EXPECT_EQ(pairs.length(0), 6 + 1);
  EXPECT_EQ(pairs.length(499), 7 + 1 + 499 * 7 % 50);
  EXPECT_EQ(texts.size(), 550);
  EXPECT_EQ(texts.length(49), 7);
  EXPECT_EQ(texts.length(50 + 1), 8);
}

TEST_F(BatcherTest, PadsWithZerosAndMarksTokens) {
  const std::vector<int32_t> rows = {0, 1};
  const TokenTensors tokens = pairs.collate(rows);
  ASSERT_EQ(tokens.ids.sizes(), (std::vector<int64_t>{2, 14}));
  EXPECT_EQ(tokens.lengths[0].item<int64_t>(), 7);
  EXPECT_EQ(tokens.ids[0][0].item<int64_t>(), 'q');
  EXPECT_EQ(tokens.type_ids[0][5].item<int64_t>(), 0);
  EXPECT_EQ(tokens.type_ids[0][6].item<int64_t>(), 1);
  EXPECT_EQ(tokens.ids[0].slice(0, 7).abs().sum().item<int64_t>(), 0);
  EXPECT_EQ(tokens.type_ids[0].slice(0, 7).sum().item<int64_t>(), 0);
  EXPECT_EQ(tokens.valid[0].sum().item<int64_t>(), 7);
  EXPECT_EQ(tokens.valid[1].sum().item<int64_t>(), 14);
}

TEST_F(BatcherTest, PacksWithoutPadding) {
  const PackedTokens tokens = pairs.pack(std::vector<int32_t>{1, 0});
  EXPECT_THAT(tokens.offsets, ElementsAre(0, 14, 21));
  EXPECT_EQ(std::string(tokens.ids.begin(), tokens.ids.end()), "query0bbbbbbbbquery0a");
  std::vector<int32_t> types(21, 1);
  std::fill_n(types.begin(), 6, 0);
  std::fill_n(types.begin() + 14, 6, 0);
  EXPECT_EQ(tokens.type_ids, types);
  EXPECT_THAT(texts.pack(std::vector<int32_t>{50}).type_ids, ElementsAre(0));
}

TEST_F(BatcherTest, EveryPairOnceInAnEpoch) {
  const Batcher batcher(data, pairs, {.batch_pairs = 16});
  EXPECT_EQ(batcher.batches_per_epoch(), 32);
  std::vector<int32_t> expected(500);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all_pairs(batcher.plan(0)), expected);
  EXPECT_EQ(all_pairs(batcher.plan(7)), expected);
}

TEST_F(BatcherTest, PlansDependOnSeedAndEpochOnly) {
  const auto first = [&](uint64_t seed, int64_t epoch) {
    return Batcher(data, pairs, {.batch_pairs = 16, .seed = seed}).plan(epoch)[0].pairs;
  };
  EXPECT_EQ(first(1, 0), first(1, 0));
  EXPECT_NE(first(1, 0), first(2, 0));
  EXPECT_NE(first(1, 0), first(1, 1));
}

TEST_F(BatcherTest, BatchesHoldNeighboursInLength) {
  const Batcher batcher(data, pairs, {.batch_pairs = 16});
  int64_t tokens = 0, padded = 0;
  for (const Batch& batch : batcher.plan(0)) {
    int64_t longest = 0;
    for (const int32_t pair : batch.pairs) {
      tokens += pairs.length(pair);
      longest = std::max(longest, pairs.length(pair));
    }
    padded += longest * std::ssize(batch.pairs);
  }
  EXPECT_LT(padded, 1.1 * tokens);
}

TEST_F(BatcherTest, QueryGroupsStayTogether) {
  const Batcher batcher(data, pairs, {.form = BatchForm::kQueryGroups, .batch_pairs = 32});
  const auto batches = batcher.plan(0);
  EXPECT_EQ(all_pairs(batches).size(), 500u);
  for (const Batch& batch : batches) {
    EXPECT_LE(batch.pairs.size(), 32u);
    std::map<int32_t, int> count;
    for (const int32_t pair : batch.pairs) ++count[data.pairs[pair].query];
    for (const auto& [query, pairs] : count) EXPECT_EQ(pairs, 10);
  }
}

TEST_F(BatcherTest, ContrastiveBatchesHoldQueriesPositivesAndHardNegatives) {
  const Batcher batcher(data, texts,
                        {.form = BatchForm::kContrastive, .batch_pairs = 20, .hard_negatives = 2});
  EXPECT_EQ(batcher.batches_per_epoch(), 5);
  const Batch batch = batcher.plan(0)[0];
  ASSERT_THAT(batch.pairs, SizeIs(20));
  ASSERT_THAT(batch.sequences, SizeIs(20 * 4));
  for (size_t i = 0; i < 20; ++i) {
    const Pair& pair = data.pairs[batch.pairs[i]];
    EXPECT_EQ(pair.label, 1);
    EXPECT_EQ(batch.sequences[i], pair.query);
    EXPECT_EQ(batch.sequences[20 + i], 50 + pair.document);
    for (size_t hard = 40 + 2 * i; hard < 42 + 2 * i; ++hard) {
      const Pair& negative = data.pairs[batch.sequences[hard] - 50];
      EXPECT_EQ(negative.query, pair.query);
      EXPECT_EQ(negative.label, 0);
    }
  }
}

// Two queries share a document that answers both; both documents of one query are in the batch.
TEST_F(BatcherTest, ContrastiveBatchesTellWhatElseAnswersAQuery) {
  Dataset small = make_data(2);
  small.pairs[14].document = small.pairs[4].document;
  small.pairs[0].label = 2;
  small.pairs[1].label = 1;
  const TokenStore store = TokenStore::of_texts(small, LetterTokenizer(), 64, pool);
  const Batcher batcher(small, store,
                        {.form = BatchForm::kContrastive, .batch_pairs = 64, .hard_negatives = 20});
  const Batch batch = batcher.plan(0)[0];
  const auto positives = static_cast<int32_t>(batch.pairs.size());
  ASSERT_EQ(positives, 6);
  std::set<std::pair<int32_t, int32_t>> expected;
  for (int32_t row = 0; row < positives; ++row) {
    for (int32_t i = positives; i < std::ssize(batch.sequences); ++i) {
      for (const Pair& pair : small.pairs) {
        const bool answers = pair.label > 0 && pair.document == batch.sequences[i] - 2 &&
                             pair.query == small.pairs[batch.pairs[row]].query;
        if (answers && i - positives != row) expected.emplace(row, i - positives);
      }
    }
  }
  EXPECT_EQ(expected.size(), 4u * 4 + 2 * 2);
  EXPECT_EQ(std::set(batch.other_positives.begin(), batch.other_positives.end()), expected);
  for (size_t i = 2 * positives; i < batch.sequences.size(); ++i) {
    EXPECT_EQ(small.pairs[batch.sequences[i] - 2].label, 0);
  }
}

struct FailingTokenizer : LetterTokenizer {
  Encoding encode(std::string_view, int64_t) const override { throw Error("tokenizer", "fails"); }
};

// From the threads of a pool, where nothing may be thrown.
TEST_F(BatcherTest, TokenizersMayFail) {
  EXPECT_THROW(TokenStore::of_texts(data, FailingTokenizer(), 64, pool), Error);
}

TEST_F(BatcherTest, EachTextOnceAnEpoch) {
  const Batcher batcher(data, texts, {.form = BatchForm::kTexts, .batch_pairs = 50});
  const std::vector<Batch> batches = batcher.plan(0);
  EXPECT_THAT(batches, SizeIs(11));  // of 50 queries and 500 documents
  std::vector<int32_t> every(550);
  std::iota(every.begin(), every.end(), 0);
  EXPECT_EQ(all_pairs(batches), every);
  for (const Batch& batch : batches) EXPECT_EQ(batch.sequences, batch.pairs);
}

TEST_F(BatcherTest, ContrastiveWantsPositives) {
  for (Pair& pair : data.pairs) pair.label = 0;
  try {
    const Batcher refused(data, texts, {.form = BatchForm::kContrastive});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("[made.tsv] holds no pair with a label above 0"));
  }
}

TEST_F(BatcherTest, StreamsGoOnFromAnyPosition) {
  const Batcher batcher(data, pairs, {.batch_pairs = 100});
  BatchStream stream(batcher, {});
  for (int i = 0; i < 7; ++i) stream.next();
  const BatchPosition position = stream.position();
  EXPECT_EQ(position.epoch, 1);
  EXPECT_EQ(position.index, 2);
  BatchStream other(batcher, position);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(stream.next().pairs, other.next().pairs);
}

}  // namespace
}  // namespace twofour
