#include "twofour/io/wordpiece_unicode.h"

#include <fmt/format.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include "twofour/base/error.h"

namespace twofour {
namespace {

bool came_with_unicode_8(UChar32 c) {
  UVersionInfo version;
  u_charAge(c, version);
  return version[0] >= 1 && version[0] <= 8;  // 0: unassigned
}

bool in_category_of_unicode_8(UChar32 c, uint32_t categories) {
  return (U_GET_GC_MASK(c) & categories) != 0 && came_with_unicode_8(c);
}

bool between(UChar32 c, UChar32 first, UChar32 last) { return c >= first && c <= last; }

// Capital letters of Unicode 16 and 17, which ICU learns with versions 76 and 78.
UChar32 lower_case_since_unicode_16(UChar32 c) {
  if (between(c, 0x10D50, 0x10D65)) return c + 0x20;  // Garay
  if (between(c, 0x16EA0, 0x16EB8)) return c + 0x1B;  // Beria Erfe
  switch (c) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return c + 1;
    case 0xA7CB:
      return 0x0264;
    case 0xA7DC:
      return 0x019B;
    default:
      return c;
  }
}

icu::FilteredNormalizer2* make_decomposer() {
  UErrorCode status = U_ZERO_ERROR;
  static const icu::UnicodeSet known(icu::UnicodeString("[:age=9.0:]"), status);
  const icu::Normalizer2* nfd = icu::Normalizer2::getNFDInstance(status);
  if (U_FAILURE(status)) {
    throw Error("ICU", fmt::format("no Unicode data: {}", u_errorName(status)),
                "Reinstall the ICU library");
  }
  return new icu::FilteredNormalizer2(*nfd, known);
}

}  // namespace

bool is_whitespace(UChar32 c) { return u_isUWhiteSpace(c); }

bool is_control(UChar32 c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return in_category_of_unicode_8(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

bool is_punctuation(UChar32 c) {
  if (c < 0x80) return is_ascii_punctuation(c);
  if (c == 0x166D || c == 0x111C9) return true;
  return in_category_of_unicode_8(c, U_GC_P_MASK);
}

bool is_accent(UChar32 c) {
  if (c == 0x1734) return true;
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;
  return in_category_of_unicode_8(c, U_GC_MN_MASK);
}

bool is_word(UChar32 c) {
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

UChar32 lower_case(UChar32 c) {
  const UChar32 lower = u_tolower(c);
  return lower != c ? lower : lower_case_since_unicode_16(c);
}

bool is_unified_chinese(UChar32 c) {
  return between(c, 0x4E00, 0x9FFF) || between(c, 0x3400, 0x4DBF) || between(c, 0x20000, 0x2A6DF) ||
         between(c, 0x2A700, 0x2B81F) || between(c, 0x2B920, 0x2CEAF);
}

bool is_chinese(UChar32 c) {
  return is_unified_chinese(c) || between(c, 0xF900, 0xFAFF) || between(c, 0x2F800, 0x2FA1F);
}

const icu::Normalizer2& decomposer() {
  static const icu::FilteredNormalizer2* const instance = make_decomposer();
  return *instance;
}

}  // namespace twofour
