// What follows a product where cuSPARSELt has no epilogue for it: y = out(activation(x * scale +
// bias)), from int32 sums or half-width floats to int8, fp16 or bf16.
//
//   x              [m, n]  s32, f16 or bf16, rows x_stride elements apart
//   weight_scales  [n]     f32, or null for 1; multiplied by input_scale
//   bias           [n]     f32, or null for 0
//   y              [m, n]  s8, f16 or bf16, rows y_stride elements apart; may be x where the type
//                          is the same
//
// All of it, indices and arithmetic, is compiled for the device and for the host, whose tests
// compare it with the CPU engine bit for bit: dequantize_sum of backend/matmul.h, activate() of
// backend/vector_ops.h and quantize() of quant/quantize.h.
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

enum class EpilogueActivation { kNone, kRelu, kGelu };  // GELU in its erf form

struct EpilogueArgs {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t m = 0, n = 0;
  int64_t x_stride = 0, y_stride = 0;  // in elements
  float input_scale = 1;
  const float* weight_scales = nullptr;
  const float* bias = nullptr;
  float output_scale = 1;  // of int8 results
};

// Storage types of half-width floats, the same on both sides.
struct F16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

// Elements that a thread takes at once. n, strides and addresses are multiples of it, which the
// alignment rules of products imply.
constexpr int kEpilogueWidth = 4;

template <class T>
struct alignas(sizeof(T) * kEpilogueWidth) EpiloguePack {
  T values[kEpilogueWidth];
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

template <EpilogueActivation kActivation>
TWOFOUR_HOST_DEVICE float activate(float x) {
  if constexpr (kActivation == EpilogueActivation::kRelu) return 0.0f > x ? 0.0f : x;
  if constexpr (kActivation == EpilogueActivation::kGelu) return gelu(x);
  return x;
}

// quantize_value() of quant/quantize.h for 8 bits.
TWOFOUR_HOST_DEVICE int8_t quantize_to_s8(float x, float scale) {
  const float ratio = divide(x, scale);
  const float low = ratio > -127.0f ? ratio : -127.0f;
  const float clamped = low < 127.0f ? low : 127.0f;
  const float rounded = (clamped + kRoundToInteger) - kRoundToInteger;
  return static_cast<int8_t>(ratio == ratio ? static_cast<int32_t>(rounded) : 0);
}

TWOFOUR_HOST_DEVICE float to_float(int32_t value) { return static_cast<float>(value); }

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

// One element: x[row, column] of the product becomes y[row, column].
template <EpilogueActivation kActivation, class In, class Out>
TWOFOUR_HOST_DEVICE void epilogue_element(const EpilogueArgs& args, int64_t column, In x, Out& y) {
  const float weight_scale = args.weight_scales == nullptr ? 1.0f : args.weight_scales[column];
  const float bias = args.bias == nullptr ? 0.0f : args.bias[column];
  const float value = multiply_then_add(to_float(x), args.input_scale * weight_scale, bias);
  store(activate<kActivation>(value), args.output_scale, y);
}

// All that thread `thread` of `threads` does: packs thread, thread + threads, ... of the [m, n]
// matrix in row-major order.
template <EpilogueActivation kActivation, class In, class Out>
TWOFOUR_HOST_DEVICE void epilogue_thread(const EpilogueArgs& args, int64_t thread,
                                         int64_t threads) {
  const int64_t packs_in_row = args.n / kEpilogueWidth;
  for (int64_t pack = thread; pack < args.m * packs_in_row; pack += threads) {
    const int64_t row = pack / packs_in_row;
    const int64_t column = pack % packs_in_row * kEpilogueWidth;
    const In* from = static_cast<const In*>(args.x) + row * args.x_stride + column;
    Out* to = static_cast<Out*>(args.y) + row * args.y_stride + column;
    const auto x = *reinterpret_cast<const EpiloguePack<In>*>(from);
    EpiloguePack<Out> y;
    for (int i = 0; i < kEpilogueWidth; ++i)
      epilogue_element<kActivation>(args, column + i, x.values[i], y.values[i]);
    *reinterpret_cast<EpiloguePack<Out>*>(to) = y;
  }
}

}  // namespace twofour::cuda
