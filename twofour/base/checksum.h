// A checksum that tells whether bytes were altered by accident; none against intent.
#pragma once

#include <cstdint>
#include <string_view>

namespace twofour {

// FNV-1a, 64 bits. `seed` continues an earlier sum.
constexpr uint64_t checksum64(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325) {
  for (const char byte : bytes) {
    seed ^= static_cast<unsigned char>(byte);
    seed *= 0x100000001b3;
  }
  return seed;
}

}  // namespace twofour
