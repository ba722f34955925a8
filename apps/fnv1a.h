// FNV-1a, 64 bits: protects from mistakes, not from malice.
#pragma once

#include <cstdint>
#include <string_view>

namespace twofour {

inline constexpr uint64_t kFnvStart = 0xcbf29ce484222325;

// Of `bytes` behind those that gave `hash`.
constexpr uint64_t fnv1a(std::string_view bytes, uint64_t hash = kFnvStart) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace twofour
