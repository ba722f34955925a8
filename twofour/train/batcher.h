// From a dataset to padded batches: texts are tokenized once; batches hold sequences of about equal
// length.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "twofour/base/thread_pool.h"
#include "twofour/io/dataset.h"
#include "twofour/io/tokenizer.h"
#include "twofour/runtime/packed_tokens.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// Token ids of many sequences, back to back.
class TokenStore {
 public:
  // One sequence for each pair of the dataset: [CLS] query [SEP] document [SEP]. Both throw what
  // the tokenizer throws.
  static TokenStore of_pairs(const Dataset& data, const Tokenizer& tokenizer, int64_t max_length,
                             ThreadPool& pool);

  // The queries, then the documents: sequence queries.size() + d is document d.
  static TokenStore of_texts(const Dataset& data, const Tokenizer& tokenizer, int64_t max_length,
                             ThreadPool& pool);

  int64_t size() const { return static_cast<int64_t>(first_lengths_.size()); }
  int64_t length(int64_t sequence) const { return starts_[sequence + 1] - starts_[sequence]; }

  // Pads the sequences to the longest of them.
  TokenTensors collate(std::span<const int32_t> sequences) const;
  // The same for the run half.
  PackedTokens pack(std::span<const int32_t> sequences) const;

 private:
  template <class Encode>
  static TokenStore build(int64_t count, ThreadPool& pool, const Encode& encode);

  std::vector<int32_t> ids_;
  std::vector<int64_t> starts_ = {0};
  std::vector<int32_t> first_lengths_;  // tokens of type 0
};

enum class BatchForm {
  kPairs,        // independent pairs
  kQueryGroups,  // up to 16 pairs of one query stay together: RankNet compares them
  kTexts,        // independent texts, each query and document once
  kContrastive,  // queries and documents of positive pairs, and hard negatives
};

struct Batch {
  // Of the dataset; the positives for kContrastive; for kTexts the texts, as `sequences`.
  std::vector<int32_t> pairs;
  // Of the store: pairs or texts; or queries, documents, hard negatives, in this order.
  std::vector<int32_t> sequences;
  // kContrastive: query i, and a document (counted from the first one) that answers it besides
  // document i.
  std::vector<std::pair<int32_t, int32_t>> other_positives;
};

struct BatcherOptions {
  BatchForm form = BatchForm::kPairs;
  int64_t batch_pairs = 64;  // texts for kTexts
  int64_t hard_negatives =
      1;  // kContrastive: documents of the same query without a label above 0, for each positive
  uint64_t seed = 1;
};

// Plans epochs: shuffles, sorts by length inside windows of 64 batches, cuts into batches, shuffles
// those. A plan is a function of dataset, options and epoch alone.
class Batcher {
 public:
  // Both must outlive the object. Throws Error if kContrastive finds no positive pair (label > 0).
  Batcher(const Dataset& data, const TokenStore& tokens, const BatcherOptions& options);

  std::vector<Batch> plan(int64_t epoch) const;
  int64_t batches_per_epoch() const { return batches_per_epoch_; }  // of epoch 0

 private:
  std::vector<std::vector<int32_t>> units(int64_t epoch) const;
  int64_t length(int32_t pair) const;
  void add_sequences(Batch& batch) const;
  void add_hard_negatives(Batch& batch, uint64_t seed) const;
  void find_other_positives(Batch& batch) const;

  const Dataset& data_;
  const TokenStore& tokens_;
  BatcherOptions options_;
  std::vector<std::vector<int32_t>> pairs_of_query_;
  int64_t batches_per_epoch_ = 0;
};

struct BatchPosition {
  int64_t epoch = 0, index = 0;
};

// Batches one after the other, epoch after epoch, from any position on.
class BatchStream {
 public:
  BatchStream(const Batcher& batcher, BatchPosition position);
  const Batch& next();
  BatchPosition position() const { return position_; }  // of the batch that next() returns next

 private:
  const Batcher& batcher_;
  BatchPosition position_;
  std::vector<Batch> plan_;
};

// A new seed from others (splitmix64): streams that must not resemble each other.
uint64_t mix_seeds(std::initializer_list<uint64_t> seeds);

}  // namespace twofour
