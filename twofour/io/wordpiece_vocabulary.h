// Tokens by id, and the longest token that begins a text: what WordPiece asks of a vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// A trie over bytes in one open-addressed table: (node, byte) -> child.
class ByteTrie {
 public:
  struct Match {
    int32_t value = -1;
    size_t length = 0;
  };

  explicit ByteTrie(int roots);

  // A later value takes the place of an earlier one. Throws Error beyond 2^24 nodes.
  void insert(uint32_t root, std::string_view key, int32_t value);

  // Longest key that `text` begins with; value -1 if there is none.
  Match longest_prefix(uint32_t root, std::string_view text) const;

 private:
  struct Slot {
    uint32_t key = 0;    // node << 8 | byte
    uint32_t child = 0;  // 0: free; roots are nobody's child
  };

  size_t find(uint32_t key) const;
  uint32_t child_or_add(uint32_t node, unsigned char byte);
  void grow();

  std::vector<Slot> slots_;
  std::vector<int32_t> values_;  // by node
  int shift_;
};

// WordPiece: greedy longest match first; a word that is too long or does not resolve is the unknown
// token.
class WordPieceVocabulary {
 public:
  struct Options {
    std::string continuing_prefix = "##";
    int64_t max_characters_per_word = 100;
    int32_t unknown = 0;
  };

  // Of equal tokens the last one counts; empty tokens stand for ids without one.
  WordPieceVocabulary(const std::vector<std::string>& tokens, const Options& options);

  // Appends the pieces of one word, valid UTF-8.
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  Options options_;
  ByteTrie trie_;
};

}  // namespace twofour
