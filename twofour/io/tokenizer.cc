#include "twofour/io/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/io/wordpiece_config.h"

namespace twofour {
namespace {

// Texts are normalized in steps of this size, so that a long one costs only what is kept of it.
constexpr size_t kStepBytes = 4096;
constexpr size_t kEverything = std::numeric_limits<size_t>::max();

// Models pad their embedding to a multiple of 8, 64 or 128, those trained on 8 devices to one of
// 1024.
constexpr int64_t kMostPadding = 1023;

std::vector<AddedToken> raw_tokens(std::vector<AddedToken> tokens) {
  std::erase_if(tokens, [](const AddedToken& token) { return token.normalized; });
  return tokens;
}

std::vector<AddedToken> normalized_tokens(std::vector<AddedToken> tokens,
                                          const NormalizerOptions& options) {
  std::erase_if(tokens, [](const AddedToken& token) { return !token.normalized; });
  for (AddedToken& token : tokens) {
    std::string content;
    normalize(token.content, options, content);
    token.content = std::move(content);
  }
  return tokens;
}

// End of a step that starts at `begin`: a blank, which no character before or behind it reaches
// across.
size_t step_end(std::string_view text, size_t begin) {
  if (text.size() - begin <= kStepBytes) return text.size();
  return std::min(text.find(' ', begin + kStepBytes), text.size());
}

class WordPieceTokenizer : public Tokenizer {
 public:
  explicit WordPieceTokenizer(WordPieceConfig config)
      : tokens_(std::move(config.tokens)),
        options_(config.normalizer),
        vocabulary_(config.pieces, config.vocabulary),
        raw_(raw_tokens(config.added)),
        normalized_(normalized_tokens(config.added, options_)),
        cls_(config.cls),
        sep_(config.sep),
        mask_(config.mask),
        warning_(std::move(config.warning)) {
    for (const AddedToken& token : config.added) {
      if (token.special) special_.push_back(token.id);
    }
  }

  Encoding encode(std::string_view text, int64_t max_length) const override {
    const size_t room = room_for_text(max_length, 2);
    Encoding out;
    out.ids = {cls_};
    append(text, room, out);
    close(0, out);
    return out;
  }

  Encoding encode_pair(std::string_view first, std::string_view second,
                       int64_t max_length) const override {
    const size_t room = room_for_text(max_length, 3);
    // One token more than fits tells which text is longer, unless both have that many.
    std::vector<int32_t> a = tokenize(first, room + 1);
    std::vector<int32_t> b = tokenize(second, room + 1);
    if (a.size() > room && b.size() > room) {
      a = tokenize(first, kEverything);
      b = tokenize(second, kEverything);
    }
    const auto [keep_a, keep_b] = longest_first(a.size(), b.size(), room);
    Encoding out;
    out.ids = {cls_};
    out.ids.insert(out.ids.end(), a.begin(), a.begin() + keep_a);
    close(0, out);
    out.ids.insert(out.ids.end(), b.begin(), b.begin() + keep_b);
    close(1, out);
    return out;
  }

  int64_t vocab_size() const override { return static_cast<int64_t>(tokens_.size()); }

  std::string_view token(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      throw Error("Tokenizer::token", fmt::format("id {} is not in [0, {})", id, vocab_size()));
    }
    return tokens_[id];
  }

  std::span<const int32_t> special_ids() const override { return special_; }
  int32_t mask_id() const override { return mask_; }
  std::string warning() const override { return warning_; }

 private:
  static size_t room_for_text(int64_t max_length, int64_t special) {
    if (max_length < special) {
      throw Error("Tokenizer", fmt::format("max_length is {}, but {} special tokens must fit",
                                           max_length, special));
    }
    return static_cast<size_t>(max_length - special);
  }

  // How much of each text is kept, as Hugging Face's "longest_first" has it.
  static std::pair<size_t, size_t> longest_first(size_t a, size_t b, size_t room) {
    if (a + b <= room) return {a, b};
    const size_t shorter = std::min(a, b);
    size_t keep_shorter = shorter;
    size_t keep_longer = room - std::min(shorter, room);
    if (shorter > keep_longer) {
      keep_shorter = room / 2;
      keep_longer = room - keep_shorter;
    }
    return a <= b ? std::pair{keep_shorter, keep_longer} : std::pair{keep_longer, keep_shorter};
  }

  void close(int32_t type, Encoding& out) const {
    out.ids.push_back(sep_);
    out.type_ids.resize(out.ids.size(), type);
  }

  std::vector<int32_t> tokenize(std::string_view text, size_t limit) const {
    std::vector<int32_t> ids;
    tokenize_into(text, limit, ids);
    return ids;
  }

  void append(std::string_view text, size_t room, Encoding& out) const {
    tokenize_into(text, out.ids.size() + room, out.ids);
  }

  // Appends tokens until there are `limit`, and cuts there.
  void tokenize_into(std::string_view text, size_t limit, std::vector<int32_t>& ids) const {
    for (const auto& piece : raw_.split(text)) {
      if (ids.size() >= limit) break;
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else if (normalized_.empty()) {
        plain_text(piece.text, limit, ids);
      } else {
        text_with_normalized_tokens(piece.text, ids);
      }
    }
    if (ids.size() > limit) ids.resize(limit);
  }

  void plain_text(std::string_view text, size_t limit, std::vector<int32_t>& ids) const {
    std::string normalized;
    for (size_t begin = 0; begin < text.size() && ids.size() < limit;) {
      const size_t end = step_end(text, begin);
      normalized.clear();
      normalize(text.substr(begin, end - begin), options_, normalized);
      words(normalized, ids);
      begin = end;
    }
  }

  void text_with_normalized_tokens(std::string_view text, std::vector<int32_t>& ids) const {
    std::string normalized;
    normalize(text, options_, normalized);
    for (const auto& piece : normalized_.split(normalized)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else {
        words(piece.text, ids);
      }
    }
  }

  void words(std::string_view normalized, std::vector<int32_t>& ids) const {
    for (size_t position = 0; position < normalized.size();) {
      const std::string_view word = next_word(normalized, position);
      if (!word.empty()) vocabulary_.encode_word(word, ids);
    }
  }

  std::vector<std::string> tokens_;
  NormalizerOptions options_;
  WordPieceVocabulary vocabulary_;
  AddedTokenMatcher raw_, normalized_;
  int32_t cls_, sep_, mask_;
  std::vector<int32_t> special_;
  std::string warning_;
};

// Of a vocabulary that was cut short: what it lost would be read as unknown words, silently. Less
// than padding may be either, so it is warned of.
std::string check_whole(const WordPieceConfig& config, const ModelDirectory& model,
                        const TokenizerFiles& files) {
  const int64_t rows = model.config().vocab_size;
  const int64_t tokens =
      std::ranges::count_if(config.tokens, [](const std::string& token) { return !token.empty(); });
  if (tokens == rows) return {};
  const std::string where = files.where(model.file("vocab.txt") ? "vocab.txt" : "tokenizer.json");
  if (rows - tokens <= kMostPadding) {
    return fmt::format(
        "{} has {} tokens, the model's vocab_size is {}: right if the other rows are padding; if "
        "the "
        "file was cut short, words are read as unknown: restore it",
        where, tokens, rows);
  }
  throw Error(where, fmt::format("has {} tokens, but the model's vocab_size is {}", tokens, rows),
              "Restore the file; if the other rows are meant to be unused, add a token [unusedN] "
              "for each");
}

}  // namespace

void check_max_length(int64_t max_length, int64_t texts, const ModelConfig& config) {
  const int64_t special = texts + 1;
  if (max_length >= special + texts && max_length <= config.max_sequence_length) return;
  throw Error("max_length",
              fmt::format("is {}, expected {} to {} tokens, of which {} are special", max_length,
                          special + texts, config.max_sequence_length, special));
}

std::unique_ptr<Tokenizer> make_wordpiece_tokenizer(WordPieceConfig config) {
  return std::make_unique<WordPieceTokenizer>(std::move(config));
}

std::unique_ptr<Tokenizer> Tokenizer::open(const ModelDirectory& model) {
  const TokenizerFiles files{[&](std::string_view name) { return model.file(name); },
                             model.origin()};
  WordPieceConfig config = read_wordpiece_config(files, model.config().vocab_size);
  config.warning = check_whole(config, model, files);
  return make_wordpiece_tokenizer(std::move(config));
}

}  // namespace twofour
