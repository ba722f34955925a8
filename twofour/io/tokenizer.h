// Text to token ids. WordPiece as in Hugging Face's BertTokenizerFast (equal to tokenizers 0.22.2,
// quirks of its Unicode tables included: see scripts/test-tokenizer). Special and added tokens are
// recognized in text: a user who types "[SEP]" gets the separator.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/io/model_directory.h"

namespace twofour {

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;  // 0 for the first text, 1 for the second
};

// Sequences of a model that are cut to `max_length` tokens must keep one of each of their `texts`
// texts (1, or 2 for pairs) beside the special ones, or all texts would be alike. Throws Error
// below that, and above what the model can read.
void check_max_length(int64_t max_length, int64_t texts, const ModelConfig& config);

// Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // From the model's vocab.txt, or tokenizer.json where there is none; options and special tokens
  // from special_tokens_map.json, tokenizer_config.json (do_lower_case, tokenize_chinese_chars,
  // strip_accents, added_tokens_decoder), tokenizer.json and added_tokens.json. What
  // tokenizer_config.json leaves open is as tokenizer.json has it, else as BERT has it. Throws
  // Error if the tokenizer is of another kind, a file is damaged, a special token is missing, a
  // token's id has no row in the model's embedding, or more rows than padding have no token.
  static std::unique_ptr<Tokenizer> open(const ModelDirectory& model);

  // [CLS] text [SEP], cut to max_length tokens. Invalid UTF-8 becomes U+FFFD, which cleaning drops.
  // Throws Error if max_length leaves no room for the special tokens.
  virtual Encoding encode(std::string_view text, int64_t max_length) const = 0;

  // [CLS] first [SEP] second [SEP]; the longer one is cut first ("longest_first").
  virtual Encoding encode_pair(std::string_view first, std::string_view second,
                               int64_t max_length) const = 0;

  // One more than the highest id. An id without a token has an empty one; others throw Error.
  virtual int64_t vocab_size() const = 0;
  virtual std::string_view token(int32_t id) const = 0;

  // Tokens that mean something to the model rather than to the reader, as the model's files name
  // them: padding, unknown words, [CLS], [SEP], [MASK] and what the files add to them.
  virtual std::span<const int32_t> special_ids() const = 0;
  // The one that hides another; -1: there is none.
  virtual int32_t mask_id() const = 0;

  // What the caller should know and is no error: rows of the embedding without a token, which may
  // be padding or what a vocabulary lost; else empty.
  virtual std::string warning() const { return {}; }
};

}  // namespace twofour
