// Loops over plain arrays of which LibTorch would make several passes. No LibTorch here: compilers
// vectorize them as they stand, and callers split the range over threads. Tensors that are not in
// host memory go through aten_forms.h.
#pragma once

#include <cstdint>

namespace twofour::elementwise {

// A type of its own so that overloads tell it from other 16-bit integers.
struct BFloat16 {
  uint16_t bits;
};

// T and U are float or BFloat16; arithmetic is float.

// y = clamp(round_half_even(x / scale), -qmax, qmax) * scale; qmax < 2^22. NaN stays NaN.
template <class T, class U>
void quantize_dequantize(const T* x, float scale, int qmax, U* y, int64_t n);

// dx = |x| <= limit ? dy : 0
template <class T, class U>
void clip_gradient(const T* x, float limit, const U* dy, T* dx, int64_t n);

// y = 0 with probability p, else x / (1 - p), for one block of at most kDropoutBlock elements,
// whose random numbers follow from `seed` and the block's index alone.
inline constexpr int64_t kDropoutBlock = 4096;
template <class T>
void dropout_block(const T* x, uint64_t seed, int64_t block, double p, T* y, int64_t n);

// Largest |x|; NaN if there is one.
float max_abs(const float* x, int64_t n);

// x = keep ? x : 0; keep is 0 or 1.
void select(const uint8_t* keep, float* x, int64_t n);

// Moves what the mask removes: removed += keep ? 0 : x, x = keep ? x : 0.
void select_into(const uint8_t* keep, float* x, float* removed, int64_t n);

// Whether some x != 0 lies outside the mask.
bool violates(const uint8_t* keep, const float* x, int64_t n);

}  // namespace twofour::elementwise
