// Hugging Face's BertNormalizer and BertPreTokenizer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace twofour {

struct NormalizerOptions {
  bool clean_text = true;     // drop control characters, turn white space into blanks
  bool chinese = true;        // blanks around CJK ideographs
  bool strip_accents = true;  // NFD without Mn
  bool lower_case = true;     // after stripping accents
};

// Appends the normalized form of `text` to `out`. Invalid UTF-8 counts as U+FFFD.
void normalize(std::string_view text, const NormalizerOptions& options, std::string& out);

// The word (or single punctuation mark) of normalized text at or behind `position`, which moves
// behind it; empty at the end.
std::string_view next_word(std::string_view normalized, size_t& position);

}  // namespace twofour
