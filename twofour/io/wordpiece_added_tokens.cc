#include "twofour/io/wordpiece_added_tokens.h"

#include <unicode/utf8.h>

#include <algorithm>

#include "twofour/io/wordpiece_unicode.h"

namespace twofour {
namespace {

// Code point that ends before / begins at `position`; -1 at an end of the text or in ill-formed
// UTF-8.
UChar32 code_point_before(std::string_view text, size_t position, size_t& begin) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  auto at = static_cast<int32_t>(position);
  UChar32 c = -1;
  if (at > 0) U8_PREV(bytes, 0, at, c);
  begin = static_cast<size_t>(at);
  return c;
}

UChar32 code_point_at(std::string_view text, size_t position, size_t& end) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c = -1;
  if (position < text.size()) U8_NEXT(bytes, position, text.size(), c);
  end = position;
  return c;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  size_t ignored;
  const UChar32 before = code_point_before(text, begin, ignored);
  const UChar32 after = code_point_at(text, end, ignored);
  return (before < 0 || !is_word(before)) && (after < 0 || !is_word(after));
}

size_t skip_space_before(std::string_view text, size_t position) {
  size_t next;
  for (UChar32 c; (c = code_point_before(text, position, next)) >= 0 && is_whitespace(c);) {
    position = next;
  }
  return position;
}

size_t skip_space_behind(std::string_view text, size_t position) {
  size_t next;
  for (UChar32 c; (c = code_point_at(text, position, next)) >= 0 && is_whitespace(c);) {
    position = next;
  }
  return position;
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
    size_t begin = i;
    size_t end = i + token->content.size();
    i = end;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    if (token->lstrip) begin = std::max(skip_space_before(text, begin), done);
    if (token->rstrip) end = skip_space_behind(text, end);
    if (done < begin) pieces.push_back({text.substr(done, begin - done), -1});
    pieces.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
  return pieces;
}

}  // namespace twofour
