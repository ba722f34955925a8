// Text to token ids. WordPiece as in Hugging Face's BertTokenizerFast.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/io/model_directory.h"

namespace twofour {

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;  // 0 for the first text, 1 for the second
};

// Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // From the model's vocab.txt and tokenizer_config.json (do_lower_case, tokenize_chinese_chars, strip_accents, special
  // tokens); tokenizer.json where there is no vocab.txt. Throws Error if the tokenizer is of another kind, a file is
  // damaged, a special token is missing, or the vocabulary has more entries than the model's embedding has rows.
  static std::unique_ptr<Tokenizer> open(const ModelDirectory& model);

  // [CLS] text [SEP], cut to max_length tokens. Invalid UTF-8 becomes U+FFFD.
  virtual Encoding encode(std::string_view text, int64_t max_length) const = 0;

  // [CLS] first [SEP] second [SEP]; the longer one is cut first ("longest_first").
  virtual Encoding encode_pair(std::string_view first, std::string_view second, int64_t max_length) const = 0;

  virtual int64_t vocab_size() const = 0;
  virtual std::string_view token(int32_t id) const = 0;
};

}  // namespace twofour
