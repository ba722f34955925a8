#include "twofour/train/batcher.h"

#include <algorithm>
#include <exception>
#include <numeric>
#include <random>
#include <unordered_map>

#include "twofour/base/error.h"
#include "twofour/base/random.h"

namespace twofour {
namespace {

constexpr int64_t kWindowBatches = 64;
constexpr int64_t kGroupPairs = 16;
constexpr int64_t kTokenizeChunk = 256;

// std::shuffle differs between standard libraries.
template <class T>
void shuffle(std::vector<T>& items, std::mt19937_64& random) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random() % i]);
}

int32_t first_length(const Encoding& encoding) {
  return static_cast<int32_t>(std::ranges::count(encoding.type_ids, 0));
}

// Units of at least one pair, packed in their order.
std::vector<Batch> pack(const std::vector<std::vector<int32_t>>& units, int64_t batch_pairs) {
  std::vector<Batch> batches;
  for (const std::vector<int32_t>& unit : units) {
    const int64_t size = batches.empty() ? 0 : std::ssize(batches.back().pairs);
    if (batches.empty() || size + std::ssize(unit) > batch_pairs) batches.emplace_back();
    std::vector<int32_t>& pairs = batches.back().pairs;
    pairs.insert(pairs.end(), unit.begin(), unit.end());
  }
  return batches;
}

}  // namespace

uint64_t mix_seeds(std::initializer_list<uint64_t> seeds) {
  uint64_t state = 0;
  for (const uint64_t seed : seeds) {
    state += seed;
    state = split_mix(state);
  }
  return state;
}

// --- TokenStore --------------------------------------------------------------------------------

template <class Encode>
TokenStore TokenStore::build(int64_t count, ThreadPool& pool, const Encode& encode) {
  const int64_t chunks = (count + kTokenizeChunk - 1) / kTokenizeChunk;
  std::vector<TokenStore> parts(static_cast<size_t>(chunks));
  std::vector<std::exception_ptr> failures(parts.size());  // tasks of a pool must not throw
  pool.parallel_for(chunks, [&](int64_t chunk, int) {
    TokenStore& part = parts[chunk];
    const int64_t end = std::min(count, (chunk + 1) * kTokenizeChunk);
    try {
      for (int64_t i = chunk * kTokenizeChunk; i < end; ++i) {
        const Encoding encoding = encode(i);
        part.ids_.insert(part.ids_.end(), encoding.ids.begin(), encoding.ids.end());
        part.starts_.push_back(std::ssize(part.ids_));
        part.first_lengths_.push_back(first_length(encoding));
      }
    } catch (...) {
      failures[chunk] = std::current_exception();
    }
  });
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  TokenStore store;
  for (const TokenStore& part : parts) {
    const int64_t base = std::ssize(store.ids_);
    store.ids_.insert(store.ids_.end(), part.ids_.begin(), part.ids_.end());
    for (size_t i = 1; i < part.starts_.size(); ++i)
      store.starts_.push_back(base + part.starts_[i]);
    store.first_lengths_.insert(store.first_lengths_.end(), part.first_lengths_.begin(),
                                part.first_lengths_.end());
  }
  return store;
}

TokenStore TokenStore::of_pairs(const Dataset& data, const Tokenizer& tokenizer, int64_t max_length,
                                ThreadPool& pool) {
  return build(std::ssize(data.pairs), pool, [&](int64_t i) {
    const Pair& pair = data.pairs[i];
    return tokenizer.encode_pair(data.queries[pair.query], data.documents[pair.document],
                                 max_length);
  });
}

TokenStore TokenStore::of_texts(const Dataset& data, const Tokenizer& tokenizer, int64_t max_length,
                                ThreadPool& pool) {
  const int64_t queries = std::ssize(data.queries);
  return build(queries + std::ssize(data.documents), pool, [&](int64_t i) {
    const std::string& text = i < queries ? data.queries[i] : data.documents[i - queries];
    return tokenizer.encode(text, max_length);
  });
}

TokenTensors TokenStore::collate(std::span<const int32_t> sequences) const {
  const int64_t batch = std::ssize(sequences);
  int64_t seq = 0;
  for (const int32_t sequence : sequences) seq = std::max(seq, length(sequence));
  TokenTensors tokens{at::zeros({batch, seq}, at::kLong), at::zeros({batch, seq}, at::kLong),
                      at::empty({batch}, at::kLong), at::zeros({batch, seq}, at::kBool)};
  for (int64_t row = 0; row < batch; ++row) {
    const int32_t sequence = sequences[row];
    const int64_t n = length(sequence);
    const auto first = ids_.begin() + starts_[sequence];
    std::copy(first, first + n, tokens.ids.data_ptr<int64_t>() + row * seq);
    int64_t* types = tokens.type_ids.data_ptr<int64_t>() + row * seq;
    std::fill(types + first_lengths_[sequence], types + n, 1);
    std::fill_n(tokens.valid.data_ptr<bool>() + row * seq, n, true);
    tokens.lengths.data_ptr<int64_t>()[row] = n;
  }
  return tokens;
}

PackedTokens TokenStore::pack(std::span<const int32_t> sequences) const {
  PackedTokens tokens;
  for (const int32_t sequence : sequences) {
    const auto first = ids_.begin() + starts_[sequence];
    tokens.ids.insert(tokens.ids.end(), first, first + length(sequence));
    tokens.type_ids.resize(tokens.type_ids.size() + first_lengths_[sequence], 0);
    tokens.type_ids.resize(tokens.ids.size(), 1);
    tokens.offsets.push_back(static_cast<int32_t>(tokens.ids.size()));
  }
  return tokens;
}

// --- Batcher -----------------------------------------------------------------------------------

Batcher::Batcher(const Dataset& data, const TokenStore& tokens, const BatcherOptions& options)
    : data_(data), tokens_(tokens), options_(options), pairs_of_query_(data.queries.size()) {
  for (int32_t i = 0; i < std::ssize(data.pairs); ++i) {
    pairs_of_query_[data.pairs[i].query].push_back(i);
  }
  batches_per_epoch_ = std::ssize(plan(0));
  if (batches_per_epoch_ == 0) {
    throw Error(data.origin, "holds no pair with a label above 0: nothing to learn from",
                "Contrastive training wants positive pairs.");
  }
}

int64_t Batcher::length(int32_t pair) const {
  if (options_.form != BatchForm::kContrastive) return tokens_.length(pair);
  return tokens_.length(std::ssize(data_.queries) + data_.pairs[pair].document);
}

// What stays together, in random order.
std::vector<std::vector<int32_t>> Batcher::units(int64_t epoch) const {
  std::mt19937_64 random(mix_seeds({options_.seed, static_cast<uint64_t>(epoch)}));
  std::vector<std::vector<int32_t>> units;
  if (options_.form == BatchForm::kQueryGroups) {
    const int64_t group = std::min(kGroupPairs, options_.batch_pairs);
    for (std::vector<int32_t> pairs : pairs_of_query_) {
      shuffle(pairs, random);
      for (int64_t i = 0; i < std::ssize(pairs); i += group) {
        const int64_t end = std::min(i + group, std::ssize(pairs));
        units.emplace_back(pairs.begin() + i, pairs.begin() + end);
      }
    }
  } else if (options_.form == BatchForm::kContrastive) {
    for (int32_t i = 0; i < std::ssize(data_.pairs); ++i) {
      if (data_.pairs[i].label > 0) units.push_back({i});
    }
  } else {
    for (int32_t i = 0; i < tokens_.size(); ++i) units.push_back({i});
  }
  shuffle(units, random);
  return units;
}

std::vector<Batch> Batcher::plan(int64_t epoch) const {
  std::vector<std::vector<int32_t>> all = units(epoch);
  const auto longest = [&](const std::vector<int32_t>& unit) {
    int64_t length = 0;
    for (const int32_t pair : unit) length = std::max(length, this->length(pair));
    return length;
  };
  const int64_t unit_pairs =
      options_.form == BatchForm::kQueryGroups ? std::min(kGroupPairs, options_.batch_pairs) : 1;
  // No more than the units there are: the product must not overflow.
  const int64_t batch_pairs = std::min(options_.batch_pairs, unit_pairs * std::ssize(all));
  const int64_t window = std::max<int64_t>(1, kWindowBatches * batch_pairs / unit_pairs);
  for (int64_t i = 0; i < std::ssize(all); i += window) {
    const auto end = all.begin() + std::min(i + window, std::ssize(all));
    std::stable_sort(all.begin() + i, end,
                     [&](const auto& a, const auto& b) { return longest(a) < longest(b); });
  }
  std::vector<Batch> batches = pack(all, options_.batch_pairs);
  std::mt19937_64 random(mix_seeds({options_.seed, static_cast<uint64_t>(epoch), 1}));
  shuffle(batches, random);
  for (Batch& batch : batches) {
    add_sequences(batch);
    if (options_.form != BatchForm::kContrastive) continue;
    add_hard_negatives(batch, random());
    find_other_positives(batch);
  }
  return batches;
}

void Batcher::add_sequences(Batch& batch) const {
  if (options_.form != BatchForm::kContrastive) {
    batch.sequences = batch.pairs;
    return;
  }
  const auto queries = static_cast<int32_t>(data_.queries.size());
  for (const int32_t pair : batch.pairs) batch.sequences.push_back(data_.pairs[pair].query);
  for (const int32_t pair : batch.pairs) {
    batch.sequences.push_back(queries + data_.pairs[pair].document);
  }
}

void Batcher::add_hard_negatives(Batch& batch, uint64_t seed) const {
  std::mt19937_64 random(seed);
  const auto queries = static_cast<int32_t>(data_.queries.size());
  for (const int32_t pair : batch.pairs) {
    const Pair& positive = data_.pairs[pair];
    std::vector<int32_t> candidates;
    for (const int32_t other : pairs_of_query_[positive.query]) {
      if (data_.pairs[other].label <= 0) candidates.push_back(other);
    }
    shuffle(candidates, random);
    const size_t count = std::min<size_t>(options_.hard_negatives, candidates.size());
    for (size_t i = 0; i < count; ++i) {
      batch.sequences.push_back(queries + data_.pairs[candidates[i]].document);
    }
  }
}

void Batcher::find_other_positives(Batch& batch) const {
  const auto queries = static_cast<int32_t>(data_.queries.size());
  const auto positives = static_cast<int32_t>(batch.pairs.size());
  std::unordered_multimap<int32_t, int32_t> places;
  for (int32_t i = positives; i < std::ssize(batch.sequences); ++i) {
    places.emplace(batch.sequences[i] - queries, i - positives);
  }
  for (int32_t row = 0; row < positives; ++row) {
    for (const int32_t other : pairs_of_query_[data_.pairs[batch.pairs[row]].query]) {
      if (data_.pairs[other].label <= 0) continue;
      const auto [first, last] = places.equal_range(data_.pairs[other].document);
      for (auto place = first; place != last; ++place) {
        if (place->second != row) batch.other_positives.emplace_back(row, place->second);
      }
    }
  }
}

// --- BatchStream -------------------------------------------------------------------------------

BatchStream::BatchStream(const Batcher& batcher, BatchPosition position)
    : batcher_(batcher), position_(position), plan_(batcher.plan(position.epoch)) {}

const Batch& BatchStream::next() {
  // Epochs of query groups may differ in length by a batch.
  while (position_.index >= std::ssize(plan_)) {
    position_ = {position_.epoch + 1, 0};
    plan_ = batcher_.plan(position_.epoch);
  }
  return plan_[position_.index++];
}

}  // namespace twofour
