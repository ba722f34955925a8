#include "twofour/io/wordpiece_vocabulary.h"

#include <algorithm>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr uint32_t kMaximumNodes = 1u << 24;
constexpr int kInitialBits = 10;
constexpr uint32_t kStart = 0;         // root of tokens that may begin a word
constexpr uint32_t kContinuation = 1;  // root of tokens that continue one, without their prefix

int64_t count_characters(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

ByteTrie::ByteTrie(int roots)
    : slots_(size_t{1} << kInitialBits), values_(roots, -1), shift_(32 - kInitialBits) {}

size_t ByteTrie::find(uint32_t key) const {
  size_t at = (key * 0x9E3779B1u) >> shift_;
  while (slots_[at].child != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
  return at;
}

void ByteTrie::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  --shift_;
  for (const Slot& slot : old) {
    if (slot.child != 0) slots_[find(slot.key)] = slot;
  }
}

uint32_t ByteTrie::child_or_add(uint32_t node, unsigned char byte) {
  const uint32_t key = node << 8 | byte;
  size_t at = find(key);
  if (slots_[at].child != 0) return slots_[at].child;
  if (values_.size() == kMaximumNodes)
    throw Error("vocabulary", "more than 2^24 distinct prefixes");
  if (values_.size() * 2 > slots_.size()) {
    grow();
    at = find(key);
  }
  const auto child = static_cast<uint32_t>(values_.size());
  slots_[at] = {key, child};
  values_.push_back(-1);
  return child;
}

void ByteTrie::insert(uint32_t root, std::string_view key, int32_t value) {
  uint32_t node = root;
  for (const char c : key) node = child_or_add(node, static_cast<unsigned char>(c));
  values_[node] = value;
}

ByteTrie::Match ByteTrie::longest_prefix(uint32_t root, std::string_view text) const {
  Match best;
  uint32_t node = root;
  for (size_t i = 0; i < text.size(); ++i) {
    node = slots_[find(node << 8 | static_cast<unsigned char>(text[i]))].child;
    if (node == 0) break;
    if (values_[node] >= 0) best = {values_[node], i + 1};
  }
  return best;
}

WordPieceVocabulary::WordPieceVocabulary(const std::vector<std::string>& tokens,
                                         const Options& options)
    : options_(options), trie_(2) {
  const std::string& prefix = options_.continuing_prefix;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    if (token.empty()) continue;
    const auto value = static_cast<int32_t>(id);
    trie_.insert(kStart, token, value);
    if (token.size() > prefix.size() && token.starts_with(prefix)) {
      trie_.insert(kContinuation, token.substr(prefix.size()), value);
    }
  }
}

void WordPieceVocabulary::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  const int64_t limit = options_.max_characters_per_word;
  const bool too_long = static_cast<int64_t>(word.size()) > limit && count_characters(word) > limit;
  uint32_t root = kStart;
  while (!too_long && !word.empty()) {
    const ByteTrie::Match match = trie_.longest_prefix(root, word);
    if (match.length == 0) break;
    ids.push_back(match.value);
    word.remove_prefix(match.length);
    root = kContinuation;
  }
  if (word.empty()) return;
  ids.resize(before);
  ids.push_back(options_.unknown);
}

}  // namespace twofour
