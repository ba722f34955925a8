#include "twofour/io/wordpiece_normalizer.h"

#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <array>
#include <cstdint>

#include "twofour/io/wordpiece_unicode.h"

namespace twofour {
namespace {

constexpr UChar32 kReplacement = 0xFFFD;
constexpr UChar32 kCapitalDottedI = 0x130;

enum class AsciiClass : uint8_t { kWord, kSpace, kPunctuation, kControl };

constexpr std::array<AsciiClass, 128> ascii_classes() {
  std::array<AsciiClass, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    classes[c] = space                     ? AsciiClass::kSpace
                 : c < 32 || c == 127      ? AsciiClass::kControl
                 : is_ascii_punctuation(c) ? AsciiClass::kPunctuation
                                           : AsciiClass::kWord;
  }
  return classes;
}

constexpr std::array<AsciiClass, 128> kAsciiClasses = ascii_classes();

AsciiClass ascii_class(unsigned char c) { return kAsciiClasses[c]; }

bool is_ascii(char c) { return static_cast<signed char>(c) >= 0; }

// Next code point; U+FFFD for each maximal part of an ill-formed sequence.
UChar32 decode(std::string_view text, size_t& position) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c;
  U8_NEXT_OR_FFFD(bytes, position, text.size(), c);
  return c;
}

void append_utf8(UChar32 c, std::string& out) {
  char bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, c);
  out.append(bytes, length);
}

class Normalizer {
 public:
  Normalizer(const NormalizerOptions& options, std::string& out) : options_(options), out_(out) {}

  void run(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
      if (is_ascii(text[i])) {
        ascii(text[i++]);
      } else {
        other(decode(text, i));
      }
    }
    flush();
  }

 private:
  void ascii(char c) {
    const AsciiClass kind = ascii_class(c);
    if (options_.clean_text && kind == AsciiClass::kControl) return;
    if (!pending_.isEmpty()) flush();
    if (options_.clean_text && kind == AsciiClass::kSpace) c = ' ';
    if (options_.lower_case && c >= 'A' && c <= 'Z') c += 'a' - 'A';
    out_.push_back(c);
  }

  void other(UChar32 c) {
    if (is_unified_chinese(c)) return chinese(c);
    if (options_.clean_text) {
      if (c == kReplacement || is_control(c)) return;
      if (is_whitespace(c)) return ascii(' ');
    }
    const bool apart = options_.chinese && is_chinese(c);
    if (apart) ascii(' ');
    if (options_.strip_accents) {
      pending_.append(c);
    } else {
      emit(c);
    }
    if (apart) ascii(' ');
  }

  void chinese(UChar32 c) {
    if (options_.chinese) ascii(' ');
    flush();
    append_utf8(c, out_);
    if (options_.chinese) out_.push_back(' ');
  }

  // Accents are put in order across characters, so they need a whole run; ASCII ends one, as it has
  // no accents.
  void flush() {
    if (pending_.isEmpty()) return;
    UErrorCode status = U_ZERO_ERROR;
    decomposer().normalize(pending_, decomposed_, status);
    for (int32_t i = 0; i < decomposed_.length();) {
      const UChar32 c = decomposed_.char32At(i);
      i += U16_LENGTH(c);
      if (!is_accent(c)) emit(c);
    }
    pending_.remove();
  }

  void emit(UChar32 c) {
    if (options_.lower_case) {
      append_utf8(lower_case(c), out_);
      if (c == kCapitalDottedI) append_utf8(0x307, out_);
    } else {
      append_utf8(c, out_);
    }
  }

  const NormalizerOptions& options_;
  std::string& out_;
  icu::UnicodeString pending_;  // non-ASCII characters that await NFD
  icu::UnicodeString decomposed_;
};

AsciiClass class_of(UChar32 c) {
  if (is_unified_chinese(c)) return AsciiClass::kWord;
  if (is_whitespace(c)) return AsciiClass::kSpace;
  return is_punctuation(c) ? AsciiClass::kPunctuation : AsciiClass::kWord;
}

// Class of the character at `position`, which moves behind it.
AsciiClass next_class(std::string_view text, size_t& position) {
  if (!is_ascii(text[position])) return class_of(decode(text, position));
  const unsigned char c = text[position++];
  const AsciiClass kind = ascii_class(c);
  if (kind != AsciiClass::kControl) return kind;
  return c == '\v' || c == '\f' ? AsciiClass::kSpace : AsciiClass::kWord;
}

}  // namespace

void normalize(std::string_view text, const NormalizerOptions& options, std::string& out) {
  Normalizer(options, out).run(text);
}

std::string_view next_word(std::string_view text, size_t& position) {
  size_t begin = position;
  while (position < text.size()) {
    const size_t here = position;
    const AsciiClass kind = next_class(text, position);
    if (kind == AsciiClass::kWord) continue;
    const bool in_word = here > begin;
    if (kind == AsciiClass::kPunctuation) {
      if (in_word) position = here;
      return text.substr(begin, position - begin);
    }
    if (in_word) return text.substr(begin, here - begin);
    begin = position;
  }
  return text.substr(begin);
}

}  // namespace twofour
