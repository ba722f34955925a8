// Element types and the arithmetic of single elements, compiled for the device and for the host,
// whose tests compare them with the CPU engine's bit for bit. Files that include this are compiled
// for the device without contraction to fused multiply-add: what rounds twice there rounds twice
// here.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define TWOFOUR_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define TWOFOUR_HOST_DEVICE inline
#endif

#include "twofour/base/dtype.h"

namespace twofour::cuda {

// Storage types of half-width floats, the same on both sides.
struct F16 {
  static constexpr bool kIsBf16 = false;
  uint16_t bits;
};
struct Bf16 {
  static constexpr bool kIsBf16 = true;
  uint16_t bits;
};

struct E4m3 {
  uint8_t bits;
};

// Consecutive elements that a thread loads or stores at once.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];
};

// On the device the compiler would fuse a multiplication and an addition; the definition rounds
// twice.
TWOFOUR_HOST_DEVICE float multiply_then_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(__fmul_rn(a, b), c);
#else
  const float product = a * b;
  return product + c;
#endif
}

// Correctly rounded whatever the flags of the compilation.
TWOFOUR_HOST_DEVICE float divide(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

TWOFOUR_HOST_DEVICE float square_root(float x) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(x);
#else
  return std::sqrt(x);
#endif
}

TWOFOUR_HOST_DEVICE float as_float(int32_t bits) {
#if defined(__CUDA_ARCH__)
  return __int_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

TWOFOUR_HOST_DEVICE int32_t as_int(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_int(value);
#else
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

// Adding 1.5 * 2^23 rounds to an integer, half to even, and leaves it in the low bits.
constexpr float kRoundToInteger = 12582912.0f;

TWOFOUR_HOST_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }

// exp2() of backend/cpu/vector_math.h for one value.
TWOFOUR_HOST_DEVICE float exp2_polynomial(float x) {
  const float shifted = x + kRoundToInteger;
  const float r = x - (shifted - kRoundToInteger);
  float p = fused(1.3276473e-3f, r, 9.6755413e-3f);
  p = fused(p, r, 5.5507133e-2f);
  p = fused(p, r, 2.4022120e-1f);
  p = fused(p, r, 6.9314697e-1f);
  p = fused(p, r, 1.0000001f);
  const auto exponent = static_cast<uint32_t>(as_int(shifted)) << 23;
  return as_float(static_cast<int32_t>(static_cast<uint32_t>(as_int(p)) + exponent));
}

// gelu() of backend/cpu/vector_math.h for one value: within 1e-6 of x * (1 + erf(x / sqrt(2))) / 2.
TWOFOUR_HOST_DEVICE float gelu(float x) {
  const float magnitude = as_float(as_int(x) & 0x7fffffff);
  const float a = 6.0f < magnitude ? 6.0f : magnitude;
  float p = fused(3.3092784e-5f, a, -7.6921941e-4f);
  p = fused(p, a, 8.0807155e-3f);
  p = fused(p, a, -5.3412102e-2f);
  p = fused(p, a, -4.5877097e-1f);
  p = fused(p, a, -1.1512017f);
  p = fused(p, a, -9.9999306e-1f);
  return fused(-a, exp2_polynomial(p), 0.0f > x ? 0.0f : x);
}

// exp() of backend/cpu/vector_math.h for one value: relative error below 1e-6, arguments outside
// [-86, 86] clamped.
TWOFOUR_HOST_DEVICE float exponential(float x) {
  const float scaled = x * 1.44269504f;
  const float low = scaled > -126.0f ? scaled : -126.0f;
  return exp2_polynomial(low < 126.0f ? low : 126.0f);
}

// tanh() of the same file.
TWOFOUR_HOST_DEVICE float hyperbolic_tangent(float x) {
  const float magnitude = as_float(as_int(x) & 0x7fffffff);
  const float y = 1.0f - divide(2.0f, exponential(magnitude * 2.0f) + 1.0f);
  return as_float(as_int(y) | static_cast<int32_t>(as_int(x) & 0x80000000u));
}

// gelu_tanh() of the same file.
TWOFOUR_HOST_DEVICE float gelu_tanh(float x) {
  const float inner = 0.79788456080286536f * multiply_then_add(0.044715f, x * x * x, x);
  return 0.5f * x * (hyperbolic_tangent(inner) + 1.0f);
}

TWOFOUR_HOST_DEVICE float relu(float x) { return 0.0f > x ? 0.0f : x; }

// quantize_value() of quant/quantize.h for 8 bits.
TWOFOUR_HOST_DEVICE int8_t quantize_to_s8(float x, float scale) {
  const float ratio = divide(x, scale);
  const float low = ratio > -127.0f ? ratio : -127.0f;
  const float clamped = low < 127.0f ? low : 127.0f;
  const float rounded = (clamped + kRoundToInteger) - kRoundToInteger;
  return static_cast<int8_t>(ratio == ratio ? static_cast<int32_t>(rounded) : 0);
}

// f32_to_e4m3() of base/dtype.h.
TWOFOUR_HOST_DEVICE uint8_t e4m3_bits(float x) {
  const auto bits = static_cast<uint32_t>(as_int(x));
  const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint8_t>(sign | 0x7f);
  if (magnitude >= 0x43e00000) return static_cast<uint8_t>(sign | 0x7e);  // 448
  if (magnitude < 0x3c800000) {  // 2^-6: below, the spacing is that of floats from 2^14 on
    const float shifted = as_float(static_cast<int32_t>(magnitude)) + 16384.0f;
    return static_cast<uint8_t>(sign | static_cast<uint32_t>(as_int(shifted) - 0x46800000));
  }
  const uint32_t rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1);
  return static_cast<uint8_t>(sign | (rounded - (120u << 23)) >> 20);
}

// Eight bits of a quantized result: int8, or E4M3 of x / scale.
TWOFOUR_HOST_DEVICE int8_t quantize_to_byte(float x, float scale, bool e4m3) {
  if (e4m3) return static_cast<int8_t>(e4m3_bits(divide(x, scale)));
  return quantize_to_s8(x, scale);
}

TWOFOUR_HOST_DEVICE float to_float(int32_t value) { return static_cast<float>(value); }

TWOFOUR_HOST_DEVICE float to_float(float value) { return value; }

TWOFOUR_HOST_DEVICE float to_float(F16 value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  return f16_to_f32(value.bits);
#endif
}

TWOFOUR_HOST_DEVICE float to_float(Bf16 value) {
  return as_float(static_cast<int32_t>(static_cast<uint32_t>(value.bits) << 16));
}

TWOFOUR_HOST_DEVICE void store(float value, float scale, int8_t& out) {
  out = quantize_to_s8(value, scale);
}

TWOFOUR_HOST_DEVICE void store(float value, float scale, E4m3& out) {
  out.bits = e4m3_bits(divide(value, scale));
}

TWOFOUR_HOST_DEVICE void store(float value, float, float& out) { out = value; }

TWOFOUR_HOST_DEVICE void store(float value, float, F16& out) {
#if defined(__CUDA_ARCH__)
  out.bits = __half_as_ushort(__float2half_rn(value));
#else
  out.bits = f32_to_f16(value);
#endif
}

TWOFOUR_HOST_DEVICE void store(float value, float, Bf16& out) {
#if defined(__CUDA_ARCH__)
  out.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  out.bits = f32_to_bf16(value);
#endif
}

// body.template operator()<T>() with the storage type of kF16, kBF16 or, for any other, kF32.
template <class Body>
void with_float_type(DType type, const Body& body) {
  if (type == DType::kF16) return body.template operator()<F16>();
  if (type == DType::kBF16) return body.template operator()<Bf16>();
  return body.template operator()<float>();
}

}  // namespace twofour::cuda
