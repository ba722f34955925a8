// What follows a product where the library has no epilogue for it: y = out(activation(x * scale +
// bias)), from int32 sums or floats to int8 or floats.
//
//   x              [m, n]  s32, f16, bf16 or f32, rows x_stride elements apart
//   weight_scales  [n]     f32, or null for 1; multiplied by input_scale
//   bias           [n]     f32, or null for 0
//   y              [m, n]  s8, e4m3, f16, bf16 or f32, rows y_stride elements apart; may be x where
//                          the type is the same
//
// All of it, indices and arithmetic, is compiled for the device and for the host, whose tests
// compare it with the CPU engine bit for bit: dequantize_sum of backend/matmul.h, activate() of
// backend/vector_ops.h and quantize() of quant/quantize.h.
#pragma once

#include <cstdint>

#include "twofour/backend/cuda/device_math.h"
#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

enum class EpilogueActivation { kNone, kRelu, kGelu, kGeluTanh, kTanh };  // kGelu: in its erf form

struct EpilogueArgs {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t m = 0, n = 0;
  int64_t x_stride = 0, y_stride = 0;  // in elements
  float input_scale = 1;
  const float* weight_scales = nullptr;
  const float* bias = nullptr;
  float output_scale = 1;  // of int8 and E4M3 results
};

// Elements that a thread takes at once. n, strides and addresses are multiples of it, which the
// alignment rules of products imply.
constexpr int kEpilogueWidth = 4;

template <class T>
using EpiloguePack = Pack<T, kEpilogueWidth>;

template <EpilogueActivation kActivation>
TWOFOUR_HOST_DEVICE float activate(float x) {
  if constexpr (kActivation == EpilogueActivation::kRelu) return relu(x);
  if constexpr (kActivation == EpilogueActivation::kGelu) return gelu(x);
  if constexpr (kActivation == EpilogueActivation::kGeluTanh) return gelu_tanh(x);
  if constexpr (kActivation == EpilogueActivation::kTanh) return hyperbolic_tangent(x);
  return x;
}

// The same, chosen as it runs.
TWOFOUR_HOST_DEVICE float activate(EpilogueActivation activation, float x) {
  switch (activation) {
    case EpilogueActivation::kRelu:
      return activate<EpilogueActivation::kRelu>(x);
    case EpilogueActivation::kGelu:
      return activate<EpilogueActivation::kGelu>(x);
    case EpilogueActivation::kGeluTanh:
      return activate<EpilogueActivation::kGeluTanh>(x);
    case EpilogueActivation::kTanh:
      return activate<EpilogueActivation::kTanh>(x);
    default:
      return x;
  }
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

template <EpilogueActivation kActivation, class In, class Out>
struct EpilogueBody {
  static constexpr int kThreads = 256;
  static constexpr size_t kSharedBytes = 0;
  EpilogueArgs args;

  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    block.each_thread([&](int thread) {
      epilogue_thread<kActivation, In, Out>(args, index.x * kThreads + thread,
                                            index.blocks_x * kThreads);
    });
  }
};

}  // namespace twofour::cuda
