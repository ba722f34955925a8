// For files compiled with the instructions that they measure: everything here has internal linkage.
//
// V gives: Vector, kSums (more than latency x ports, with room for operands in the registers),
// kMultiplications of one step, step(sum, a, b). A step is assembly, which no compiler hoists out
// of the loop or spills.
#pragma once

#include <cstdint>

namespace twofour::cli {
namespace {

template <class V>
inline double peak_loop(int64_t rounds, typename V::Vector a, typename V::Vector b) {
  typename V::Vector sum[V::kSums] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int s = 0; s < V::kSums; ++s) V::step(sum[s], a, b);
  }
#pragma GCC unroll 16
  for (int s = 0; s < V::kSums; ++s) asm volatile("" : : "v"(sum[s]));
  return 2.0 * V::kMultiplications * V::kSums * static_cast<double>(rounds);
}

}  // namespace
}  // namespace twofour::cli
