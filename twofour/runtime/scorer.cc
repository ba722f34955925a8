#include "twofour/runtime/scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "twofour/base/error.h"
#include "twofour/runtime/packed_tokens.h"

namespace twofour {

struct Scorer::State {
  State(std::shared_ptr<const Engine> shared, const ScorerOptions& scorer_options)
      : engine(std::move(shared)),
        options(scorer_options),
        session(engine, {scorer_options.threads}) {}

  int64_t max_length() const {
    return options.max_length > 0 ? options.max_length : engine->config().max_sequence_length;
  }

  std::vector<Encoding> encode(std::span<const TextPair> pairs) const {
    const Tokenizer& tokenizer = engine->tokenizer();
    std::vector<Encoding> encodings;
    encodings.reserve(pairs.size());
    for (const TextPair& pair : pairs) {
      if (pair.second && options.max_length != 0)
        check_max_length(options.max_length, 2, engine->config());
      encodings.push_back(pair.second
                              ? tokenizer.encode_pair(pair.first, *pair.second, max_length())
                              : tokenizer.encode(pair.first, max_length()));
    }
    return encodings;
  }

  // Runs the sequences order[begin, end) and puts their rows where they belong.
  void run_batch(const std::vector<Encoding>& encodings, std::span<const size_t> order,
                 std::vector<float>& out) {
    tokens.clear();
    for (size_t i : order) tokens.append(encodings[i].ids, encodings[i].type_ids);
    const auto width = static_cast<size_t>(engine->output_width());
    rows.resize(order.size() * width);
    session.run(tokens.batch(), rows);
    for (size_t i = 0; i < order.size(); ++i) {
      std::copy_n(rows.begin() + i * width, width, out.begin() + order[i] * width);
    }
  }

  std::shared_ptr<const Engine> engine;
  ScorerOptions options;
  Session session;
  PackedTokens tokens;
  std::vector<float> rows;
};

Scorer::Scorer(std::shared_ptr<const Engine> engine, const ScorerOptions& options) {
  const ModelConfig& config = engine->config();
  if (config.head == HeadKind::kNone) {
    throw Error("Scorer", "the model has no head: neither classification nor pooling",
                "Use Session for its hidden states");
  }
  if (config.head == HeadKind::kTokenClassification) {
    throw Error("Scorer", "the model classifies tokens: it has no output for a whole text",
                "Use Session for its logits");
  }
  if (options.max_length != 0) check_max_length(options.max_length, 1, config);
  if (options.tokens_per_batch < 1) {
    throw Error("Scorer", fmt::format("tokens_per_batch is {}: must be at least 1",
                                      options.tokens_per_batch));
  }
  state_ = std::make_unique<State>(std::move(engine), options);
}
Scorer::~Scorer() = default;

std::vector<float> Scorer::run(std::span<const TextPair> pairs) {
  const std::vector<Encoding> encodings = state_->encode(pairs);
  std::vector<size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return encodings[a].ids.size() < encodings[b].ids.size();
  });
  std::vector<float> out(pairs.size() * state_->engine->output_width());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    int64_t tokens = 0;
    do {
      tokens += static_cast<int64_t>(encodings[order[end++]].ids.size());
    } while (end < order.size() && tokens < state_->options.tokens_per_batch);
    state_->run_batch(encodings, std::span(order).subspan(begin, end - begin), out);
    begin = end;
  }
  return out;
}

std::vector<Score> Scorer::score(std::span<const TextPair> pairs) {
  const std::vector<float> rows = run(pairs);
  const auto width = static_cast<size_t>(state_->engine->output_width());
  std::vector<Score> scores;
  scores.reserve(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    scores.push_back(
        score_from_output(std::span(rows).subspan(i * width, width), state_->engine->config()));
  }
  return scores;
}

}  // namespace twofour
