#include "twofour/io/utf8.h"

#include <unicode/utf8.h>

#include <cstdint>

namespace twofour {

size_t first_bad_byte(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto size = static_cast<int64_t>(text.size());
  int64_t i = 0;
  while (i < size) {
    const int64_t begin = i;
    UChar32 character;
    U8_NEXT(bytes, i, size, character);
    if (character <= 0) return static_cast<size_t>(begin);
  }
  return text.size();
}

}  // namespace twofour
