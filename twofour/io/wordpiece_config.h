// What a model's tokenizer files say, checked. Private to io/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/io/tokenizer.h"
#include "twofour/io/wordpiece_added_tokens.h"
#include "twofour/io/wordpiece_normalizer.h"
#include "twofour/io/wordpiece_vocabulary.h"

namespace twofour {

struct WordPieceConfig {
  std::vector<std::string> pieces;  // the vocabulary, by id; empty: no such id
  std::vector<std::string> tokens;  // pieces and added tokens, by id
  NormalizerOptions normalizer;
  WordPieceVocabulary::Options vocabulary;
  std::vector<AddedToken> added;
  int32_t cls = 0;
  int32_t sep = 0;
  int32_t mask = -1;    // -1: none
  std::string warning;  // of Tokenizer::warning()
};

struct TokenizerFiles {
  std::function<std::optional<std::string>(std::string_view name)> read;
  std::string folder;  // for messages; may be empty

  std::string where(std::string_view name) const;
};

// `rows` is the number of rows of the model's embedding. Throws Error as Tokenizer::open does.
WordPieceConfig read_wordpiece_config(const TokenizerFiles& files, int64_t rows);

std::unique_ptr<Tokenizer> make_wordpiece_tokenizer(WordPieceConfig config);

}  // namespace twofour
