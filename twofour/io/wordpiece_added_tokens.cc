#include "twofour/io/wordpiece_added_tokens.h"

#include <unicode/utf8.h>

#include <algorithm>

#include "twofour/io/wordpiece_unicode.h"

namespace twofour {
namespace {

bool word_ends_at(std::string_view text, size_t position) {
  const size_t length = std::min<size_t>(position, U8_MAX_LENGTH);
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data() + position - length);
  auto at = static_cast<int32_t>(length);
  UChar32 c = -1;
  if (at > 0) U8_PREV(bytes, 0, at, c);
  return c >= 0 && is_word(c);
}

bool word_starts_at(std::string_view text, size_t position) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c = -1;
  if (position < text.size()) U8_NEXT(bytes, position, text.size(), c);
  return c >= 0 && is_word(c);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content.size() > b.content.size();
  });
  for (const AddedToken& token : tokens_) {
    first_bytes_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

const AddedToken* AddedTokenMatcher::match_at(std::string_view text, size_t position) const {
  if (!first_bytes_[static_cast<unsigned char>(text[position])]) return nullptr;
  for (const AddedToken& token : tokens_) {
    if (text.substr(position).starts_with(token.content)) return &token;
  }
  return nullptr;
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Piece> pieces;
  size_t done = 0;
  for (size_t i = 0; i < text.size() && !tokens_.empty();) {
    const AddedToken* token = match_at(text, i);
    if (token == nullptr) {
      ++i;
      continue;
    }
    const size_t begin = i;
    const size_t end = i + token->content.size();
    i = end;
    if (token->single_word && (word_ends_at(text, begin) || word_starts_at(text, end))) continue;
    if (done < begin) pieces.push_back({text.substr(done, begin - done), -1});
    pieces.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
  return pieces;
}

}  // namespace twofour
