#include "twofour/cli/pair_scoring.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "twofour/base/error.h"

namespace twofour::cli {
namespace {

// Large enough for the scorer to sort texts by length, small enough for steady progress.
constexpr size_t kBlock = 2048;

// Calls run(begin, end) for each block of [0, count).
template <class Run>
void for_blocks(size_t count, const PairScoring::OnBlock& on_block, Run&& run) {
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, count);
    run(begin, end);
    if (on_block) on_block(static_cast<int64_t>(end), static_cast<int64_t>(count));
  }
}

float finite(float value) {
  if (std::isfinite(value)) return value;
  throw Error("score", fmt::format("the model gives {} for a text: its values overflow", value),
              "Try --precision f32, or train it anew");
}

}  // namespace

PairScoring::PairScoring(std::shared_ptr<const Engine> engine, const ScorerOptions& options)
    : config_(engine->config()), width_(engine->output_width()), scorer_(engine, options) {}

std::vector<Score> PairScoring::score_finite(std::span<const TextPair> pairs) {
  auto scores = scorer_.score(pairs);
  for (const Score& score : scores) finite(score.score);
  return scores;
}

std::vector<float> PairScoring::run_finite(std::span<const TextPair> texts) {
  auto rows = scorer_.run(texts);
  for (const float value : rows) finite(value);
  return rows;
}

float PairScoring::product(std::span<const float> a, int64_t row_a, std::span<const float> b,
                           int64_t row_b) const {
  double sum = 0;
  for (int64_t i = 0; i < width_; ++i)
    sum += static_cast<double>(a[row_a * width_ + i]) * b[row_b * width_ + i];
  return finite(static_cast<float>(sum));
}

std::vector<Score> PairScoring::score(std::span<const TextPair> pairs) {
  if (!embeds()) return score_finite(pairs);
  std::vector<TextPair> first, second;
  for (const TextPair& pair : pairs) {
    first.push_back({pair.first, {}});
    second.push_back({pair.second.value_or(""), {}});
  }
  const auto a = run_finite(first), b = run_finite(second);
  std::vector<Score> scores(pairs.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i].score = product(a, i, b, i);
  return scores;
}

std::vector<Score> PairScoring::score(const Dataset& data, const OnBlock& on_block) {
  std::vector<Score> scores(data.pairs.size());
  if (embeds()) {
    const auto queries = embed(data.queries, {});
    const auto documents = embed(data.documents, on_block);
    std::transform(data.pairs.begin(), data.pairs.end(), scores.begin(), [&](const Pair& pair) {
      return Score{product(queries, pair.query, documents, pair.document)};
    });
    return scores;
  }
  for_blocks(data.pairs.size(), on_block, [&](size_t begin, size_t end) {
    std::vector<TextPair> block;
    for (size_t i = begin; i < end; ++i) {
      block.push_back({data.queries[data.pairs[i].query], data.documents[data.pairs[i].document]});
    }
    std::ranges::copy(score_finite(block), scores.begin() + static_cast<ptrdiff_t>(begin));
  });
  return scores;
}

std::vector<Score> PairScoring::score_query(std::string_view query,
                                            std::span<const std::string> documents,
                                            std::span<const float> embeddings,
                                            const OnBlock& on_block) {
  std::vector<Score> scores(documents.size());
  if (embeds()) {
    const TextPair text{query, {}};
    const auto row = run_finite({&text, 1});
    for (size_t i = 0; i < scores.size(); ++i) scores[i].score = product(row, 0, embeddings, i);
    return scores;
  }
  for_blocks(documents.size(), on_block, [&](size_t begin, size_t end) {
    std::vector<TextPair> block;
    for (size_t i = begin; i < end; ++i) block.push_back({query, documents[i]});
    std::ranges::copy(score_finite(block), scores.begin() + static_cast<ptrdiff_t>(begin));
  });
  return scores;
}

std::vector<float> PairScoring::embed(std::span<const std::string> texts, const OnBlock& on_block) {
  std::vector<float> rows;
  rows.reserve(texts.size() * width_);
  for_blocks(texts.size(), on_block, [&](size_t begin, size_t end) {
    std::vector<TextPair> block;
    for (size_t i = begin; i < end; ++i) block.push_back({texts[i], {}});
    const auto part = run_finite(block);
    rows.insert(rows.end(), part.begin(), part.end());
  });
  return rows;
}

}  // namespace twofour::cli
