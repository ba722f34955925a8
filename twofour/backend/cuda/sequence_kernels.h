// What happens to the rows of sequences: pooling, L2 normalization, layers with few outputs; and
// the kernel that takes a batch in device memory over.
#pragma once

#include "twofour/backend/cuda/device_math.h"
#include "twofour/backend/cuda/warp.h"
#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"

namespace twofour::cuda {

constexpr int kSequenceThreads = 128;

// Rows of a sequence's tokens to one row, as pool_rows() of runtime/pooling.h.
struct PoolArgs {
  const int32_t* sequences = nullptr;  // how many, on the device
  const int32_t* offsets = nullptr;
  Pooling pooling = Pooling::kCls;
  const void* x = nullptr;  // [tokens, width]
  int64_t width = 0;
  void* y = nullptr;  // [sequences, width] of the same type
};

// x / max(|x|, 1e-12), as normalize_row() there.
struct NormalizeArgs {
  const int32_t* rows = nullptr;
  const void* x = nullptr;  // [rows, width]
  int64_t width = 0;
  float* y = nullptr;  // [rows, width]
};

// y = activation(x W^T + bias) for few rows or outputs: no library's alignment rules.
struct HeadArgs {
  const int32_t* rows = nullptr;
  const void* x = nullptr;        // [rows, k]
  const float* weight = nullptr;  // [n, k]
  const float* bias = nullptr;    // [n]
  int64_t n = 0, k = 0;
  bool activated = false;
  ActivationKind activation = ActivationKind::kTanh;
  float* y = nullptr;  // [rows, n]
};

// Copies a batch to where the kernels read it.
struct TakeBatchArgs {
  const int32_t* ids = nullptr;
  const int32_t* type_ids = nullptr;
  const int32_t* offsets = nullptr;
  int32_t tokens = 0, sequences = 0;
  int32_t* counts = nullptr;  // tokens, sequences
  int32_t* to_ids = nullptr;
  int32_t* to_type_ids = nullptr;
  int32_t* to_offsets = nullptr;
};

template <class T>
struct PoolBody {
  static constexpr int kThreads = kSequenceThreads;
  static constexpr size_t kSharedBytes = 0;
  PoolArgs args;

  // Index: x sequence, y columns in groups of kThreads. Only x goes beyond 65535.
  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    if (index.x >= *args.sequences) return;
    block.each_thread([&](int thread) {
      const int64_t column = index.y * kThreads + thread;
      if (column < args.width)
        pool(args.offsets[index.x], args.offsets[index.x + 1], index.x, column);
    });
  }

 private:
  TWOFOUR_HOST_DEVICE void pool(int64_t begin, int64_t end, int64_t row, int64_t column) const {
    const T* x = static_cast<const T*>(args.x) + column;
    float value = to_float(x[begin * args.width]);
    for (int64_t i = begin + 1; i < end && args.pooling != Pooling::kCls; ++i) {
      const float next = to_float(x[i * args.width]);
      value = args.pooling == Pooling::kMax ? (value < next ? next : value) : value + next;
    }
    if (args.pooling == Pooling::kMean) value = divide(value, static_cast<float>(end - begin));
    store(value, 1.0f, static_cast<T*>(args.y)[row * args.width + column]);
  }
};

template <class T>
struct NormalizeBody {
  static constexpr int kThreads = kLanes;
  static constexpr size_t kSharedBytes = 0;
  NormalizeArgs args;

  // Index: x row.
  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    if (index.x >= *args.rows) return;
    const T* x = static_cast<const T*>(args.x) + index.x * args.width;
    float* y = args.y + index.x * args.width;
    block.each_warp([&](const auto& warp, int) { normalize(warp, x, y); });
  }

 private:
  template <class Warp>
  TWOFOUR_DEVICE void normalize(const Warp& warp, const T* x, float* y) const {
    typename Warp::template PerLane<double> squares;
    warp.each([&](int lane) {
      squares[lane] = 0;
      for (int64_t i = lane; i < args.width; i += kLanes)
        squares[lane] += static_cast<double>(to_float(x[i])) * to_float(x[i]);
    });
    const double length = sqrt(warp.sum(squares));
    const auto norm = static_cast<float>(length > 1e-12 ? length : 1e-12);
    warp.each([&](int lane) {
      for (int64_t i = lane; i < args.width; i += kLanes) y[i] = divide(to_float(x[i]), norm);
    });
  }
};

TWOFOUR_HOST_DEVICE float activate(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::kGelu:
      return gelu(x);
    case ActivationKind::kGeluTanh:
      return gelu_tanh(x);
    case ActivationKind::kRelu:
      return relu(x);
    case ActivationKind::kTanh:
      return hyperbolic_tangent(x);
  }
  return x;
}

template <class T>
struct HeadBody {
  static constexpr int kThreads = kSequenceThreads;
  static constexpr size_t kSharedBytes = 0;
  HeadArgs args;

  // Index: x row, y outputs, one for each warp. Only x goes beyond 65535.
  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    if (index.x >= *args.rows) return;
    const T* x = static_cast<const T*>(args.x) + index.x * args.k;
    block.each_warp([&](const auto& warp, int w) {
      const int64_t output = index.y * (kThreads / kLanes) + w;
      if (output < args.n) multiply(warp, x, output, args.y + index.x * args.n + output);
    });
  }

 private:
  template <class Warp>
  TWOFOUR_DEVICE void multiply(const Warp& warp, const T* x, int64_t output, float* y) const {
    const float* weight = args.weight + output * args.k;
    typename Warp::template PerLane<float> part;
    warp.each([&](int lane) {
      part[lane] = 0.0f;
      for (int64_t i = lane; i < args.k; i += kLanes)
        part[lane] = fused(to_float(x[i]), weight[i], part[lane]);
    });
    const float value = warp.sum(part) + args.bias[output];
    warp.each([&](int lane) {
      if (lane == 0) *y = args.activated ? activate(args.activation, value) : value;
    });
  }
};

struct TakeBatchBody {
  static constexpr int kThreads = 256;
  static constexpr size_t kSharedBytes = 0;
  TakeBatchArgs args;

  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    block.each_thread([&](int thread) {
      const int64_t i = index.x * kThreads + thread;
      if (i == 0) {
        args.counts[0] = args.tokens;
        args.counts[1] = args.sequences;
      }
      if (i < args.tokens) {
        args.to_ids[i] = args.ids[i];
        args.to_type_ids[i] = args.type_ids[i];
      }
      if (i <= args.sequences) args.to_offsets[i] = args.offsets[i];
    });
  }
};

}  // namespace twofour::cuda
