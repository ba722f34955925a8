// Zstandard over whole texts. Private to io/.
#pragma once

#include <string>
#include <string_view>

namespace twofour {

// One frame with a checksum; the same bytes for the same text.
std::string compress_zst(std::string_view text);

// All frames of `bytes`. Throws Error(where) for damaged or truncated data.
std::string decompress_zst(std::string_view bytes, std::string_view where);

}  // namespace twofour
