// What counts as text in files.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace twofour {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Offset of the first byte that is NUL or begins no UTF-8 character; the size if there is none.
size_t first_bad_byte(std::string_view text);

// What bytes with a bad one are instead of text, where they show it, and what to do about that.
struct NoText {
  const char* what;
  const char* remedy;
};
std::optional<NoText> recognize_no_text(std::string_view bytes);

}  // namespace twofour
