// Classes of characters as Hugging Face's BertNormalizer and BertPreTokenizer see them.
//
// They mix versions of Unicode, and so does this file to be equal to them (tokenizers 0.22.2):
// categories are those of Unicode 8.0, canonical decomposition that of 9.0, lower case that
// of 17.0. ICU knows in which version a character came; what changed its category since is listed
// by hand. scripts/test-tokenizer compares every code point.
#pragma once

#include <unicode/normalizer2.h>
#include <unicode/umachine.h>

namespace twofour {

constexpr bool is_ascii_punctuation(UChar32 c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
         (c >= 123 && c <= 126);
}

bool is_whitespace(UChar32 c);   // property White_Space
bool is_control(UChar32 c);      // Cc, Cf, Co, except tab, line feed and carriage return
bool is_punctuation(UChar32 c);  // ASCII punctuation and P*
bool is_accent(UChar32 c);       // Mn
bool is_word(UChar32 c);         // \w of regular expressions
UChar32 lower_case(UChar32 c);   // one to one; only U+0130 has two: i and U+0307

// CJK ideographs: all that BERT sets apart, and those among them that NFD leaves alone.
bool is_chinese(UChar32 c);
bool is_unified_chinese(UChar32 c);

// NFD of Unicode 9.0: whatever came later stays as it is.
const icu::Normalizer2& decomposer();

}  // namespace twofour
