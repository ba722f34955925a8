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

float finite(float value, const PairScoring::Where& where, size_t index) {
  if (std::isfinite(value)) return value;
  throw Error(where(index), fmt::format("the model gives {} here: its values overflow", value),
              "Try --precision f32, or train it anew");
}

// The library's words are for those who call it.
Scorer make_scorer(const std::filesystem::path& model, std::shared_ptr<const Engine> engine,
                   const ScorerOptions& options) {
  const HeadKind head = engine->config().head;
  if (head == HeadKind::kNone) {
    throw Error(model.string(),
                "has no head: without classifier and pooling texts have no scores or embeddings",
                "Train it first, for example with recipes/dense.yaml; an embedding model needs its "
                "modules.json and 1_Pooling too");
  }
  if (head == HeadKind::kTokenClassification) {
    throw Error(model.string(), "classifies tokens: whole texts have no score",
                "Name a model that classifies texts or embeds them");
  }
  return Scorer(std::move(engine), options);
}

}  // namespace

PairScoring::PairScoring(const std::filesystem::path& model, std::shared_ptr<const Engine> engine,
                         const ScorerOptions& options)
    : config_(engine->config()),
      width_(engine->output_width()),
      scorer_(make_scorer(model, std::move(engine), options)) {}

std::vector<Score> PairScoring::score_finite(std::span<const TextPair> pairs, const Where& where,
                                             size_t first) {
  auto scores = scorer_.score(pairs);
  for (size_t i = 0; i < scores.size(); ++i) finite(scores[i].score, where, first + i);
  return scores;
}

std::vector<float> PairScoring::run_finite(std::span<const TextPair> texts, const Where& where,
                                           size_t first) {
  auto rows = scorer_.run(texts);
  for (size_t i = 0; i < rows.size(); ++i) finite(rows[i], where, first + i / width_);
  return rows;
}

float PairScoring::product(std::span<const float> a, int64_t row_a, std::span<const float> b,
                           int64_t row_b) const {
  return score_from_embeddings(a.subspan(row_a * width_, width_),
                               b.subspan(row_b * width_, width_));
}

std::vector<Score> PairScoring::score(std::span<const TextPair> pairs, const Where& where) {
  if (!embeds()) return score_finite(pairs, where, 0);
  std::vector<TextPair> first, second;
  for (const TextPair& pair : pairs) {
    first.push_back({pair.first, {}});
    second.push_back({pair.second.value_or(""), {}});
  }
  const auto a = run_finite(first, where, 0), b = run_finite(second, where, 0);
  std::vector<Score> scores(pairs.size());
  for (size_t i = 0; i < scores.size(); ++i)
    scores[i].score = finite(product(a, i, b, i), where, i);
  return scores;
}

std::vector<Score> PairScoring::score(const Dataset& data, const OnBlock& on_block) {
  const Where query = [&](size_t i) {
    return fmt::format("{}, query {}", data.origin, data.query_ids[i]);
  };
  const Where document = [&](size_t i) {
    return fmt::format("{}, document {}", data.origin, data.document_ids[i]);
  };
  const Where where = [&](size_t i) {
    const Pair& pair = data.pairs[i];
    return fmt::format("{}, document {}", query(pair.query), data.document_ids[pair.document]);
  };
  std::vector<Score> scores(data.pairs.size());
  if (embeds()) {
    const auto queries = embed(data.queries, query, {});
    const auto documents = embed(data.documents, document, on_block);
    for (size_t i = 0; i < scores.size(); ++i) {
      const Pair& pair = data.pairs[i];
      scores[i].score = finite(product(queries, pair.query, documents, pair.document), where, i);
    }
    return scores;
  }
  for_blocks(data.pairs.size(), on_block, [&](size_t begin, size_t end) {
    std::vector<TextPair> block;
    for (size_t i = begin; i < end; ++i) {
      block.push_back({data.queries[data.pairs[i].query], data.documents[data.pairs[i].document]});
    }
    std::ranges::copy(score_finite(block, where, begin),
                      scores.begin() + static_cast<ptrdiff_t>(begin));
  });
  return scores;
}

std::vector<Score> PairScoring::score_query(std::string_view query,
                                            std::span<const std::string> documents,
                                            std::span<const float> embeddings, const Where& where,
                                            const OnBlock& on_block) {
  std::vector<Score> scores(documents.size());
  if (embeds()) {
    const TextPair text{query, {}};
    const auto row = run_finite(
        {&text, 1}, [&](size_t) { return fmt::format("query '{}'", query); }, 0);
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i].score = finite(product(row, 0, embeddings, i), where, i);
    return scores;
  }
  for_blocks(documents.size(), on_block, [&](size_t begin, size_t end) {
    std::vector<TextPair> block;
    for (size_t i = begin; i < end; ++i) block.push_back({query, documents[i]});
    std::ranges::copy(score_finite(block, where, begin),
                      scores.begin() + static_cast<ptrdiff_t>(begin));
  });
  return scores;
}

std::vector<float> PairScoring::embed(std::span<const std::string> texts, const Where& where,
                                      const OnBlock& on_block) {
  std::vector<float> rows;
  rows.reserve(texts.size() * width_);
  for_blocks(texts.size(), on_block, [&](size_t begin, size_t end) {
    std::vector<TextPair> block;
    for (size_t i = begin; i < end; ++i) block.push_back({texts[i], {}});
    const auto part = run_finite(block, where, begin);
    rows.insert(rows.end(), part.begin(), part.end());
  });
  return rows;
}

}  // namespace twofour::cli
