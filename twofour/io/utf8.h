// What counts as text in files.
#pragma once

#include <cstddef>
#include <string_view>

namespace twofour {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Offset of the first byte that is NUL or begins no UTF-8 character; the size if there is none.
size_t first_bad_byte(std::string_view text);

}  // namespace twofour
