// Random numbers that are the same with every standard library.
#pragma once

#include <cstdint>

namespace twofour {

// SplitMix64 (Steele, Lea & Flood 2014): the next number of `state`.
constexpr uint64_t split_mix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace twofour
