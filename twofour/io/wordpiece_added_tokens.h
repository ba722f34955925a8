// Tokens found in raw text before anything is split: "[SEP]" typed by a user is the separator, as
// in Hugging Face.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// Hugging Face's lstrip and rstrip are left out: they take white space, of which nothing remains
// anyway.
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // only where no word character stands beside it
  bool special = false;      // means something to the model rather than to the reader
  bool normalized = false;   // is looked for in normalized text, in its own normalized form
};

class AddedTokenMatcher {
 public:
  struct Piece {
    std::string_view text;
    int32_t id = -1;  // -1: plain text
  };

  // Tokens without content match nothing.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  // Pieces in order; leftmost longest matches, which do not overlap.
  std::vector<Piece> split(std::string_view text) const;

 private:
  const AddedToken* match_at(std::string_view text, size_t position) const;

  std::vector<AddedToken> tokens_;  // longest first
  bool first_bytes_[256] = {};
};

}  // namespace twofour
