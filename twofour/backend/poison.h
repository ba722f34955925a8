// What tests leave in memory that a kernel is to write, or to write before it reads it: numbers
// that no right result holds.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "twofour/base/aligned_buffer.h"

namespace twofour {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr int8_t kPoisonByte = -128;  // quantization ends at -127

// NaN as f32 and as bf16.
inline AlignedBuffer poisoned(size_t bytes) {
  AlignedBuffer buffer(bytes);
  std::memset(buffer.data(), 0xff, bytes);
  return buffer;
}

}  // namespace twofour
