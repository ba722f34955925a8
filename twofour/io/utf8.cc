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

std::optional<NoText> recognize_no_text(std::string_view bytes) {
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) {
    return NoText{"is UTF-16 text, expected UTF-8",
                  "Convert it, for example with iconv -f UTF-16 -t UTF-8"};
  }
  if (bytes.starts_with("\x1F\x8B")) {
    return NoText{"is compressed by gzip", "Decompress it, or compress it with zstd as *.zst"};
  }
  if (bytes.find('\0') != bytes.npos) {
    return NoText{"is not UTF-8 text: NUL bytes are those of a binary file, or of UTF-16",
                  "Name a text file, or convert it, for example with iconv -f UTF-16LE -t UTF-8"};
  }
  return std::nullopt;
}

}  // namespace twofour
