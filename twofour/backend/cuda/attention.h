// Attention inside each sequence of a batch without padding: out = softmax(q k^T / sqrt(head_dim))
// v.
//
// Queries meet a few keys at a time; maximum and sum of the softmax are carried along, so that no
// row of scores is ever held. Sources: Milakov and Gimelshein 2018, arXiv:1805.02867; Dao et al.
// 2022, arXiv:2205.14135. This file holds the body for any type and head, attention_mma.h the one
// for tensor cores.
#pragma once

#include "twofour/backend/cuda/device_math.h"
#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

// Query, key and value of head h are columns [h head_dim, (h + 1) head_dim) of q, k and v, whose
// rows are `stride` elements apart. Either output may be null.
struct DeviceAttentionArgs {
  const int32_t* sequences = nullptr;  // how many there are, on the device
  const int32_t* offsets = nullptr;    // [sequences + 1] tokens, on the device
  const void* q = nullptr;             // all three of one type
  const void* k = nullptr;
  const void* v = nullptr;
  int64_t stride = 0;
  int64_t head_dim = 0;
  float scale = 1;              // log2(e) / sqrt(head_dim): powers of 2 need no further factor
  void* out = nullptr;          // [tokens, heads * head_dim] of the type of q
  int8_t* quantized = nullptr;  // the same shape: round(out / output_scale)
  int64_t out_stride = 0;
  float output_scale = 1;
  bool e4m3 = false;  // the bytes at `quantized`
  int64_t tiles = 1;  // groups of queries of a sequence; the launch sets it
};

constexpr float kLog2E = 1.44269504f;

// Below any score, but differences to it stay finite.
constexpr float kNoScore = -1e30f;

TWOFOUR_HOST_DEVICE float power_of_2(float x) { return exp2_polynomial(x > -126.0f ? x : -126.0f); }

constexpr int kMaximumHeadDim = 256;
constexpr int kHeadParts = kMaximumHeadDim / kLanes;  // dimensions of a lane

// Of one query, held by a warp: dimension lane + 32 i of lane's part i.
struct HeadLane {
  float values[kHeadParts];
};

constexpr int kAttentionWarps = 4;  // queries of a block

// Any type and head_dim up to kMaximumHeadDim, in f32. One warp takes a query: scores of 32 keys at
// a time, one for each lane, then 32 dimensions of the values at a time.
template <class T>
struct AttentionBody {
  static constexpr int kThreads = kAttentionWarps * kLanes;
  static constexpr size_t kSharedBytes = 0;
  DeviceAttentionArgs args;

  // Index: x sequence * tiles + group of kAttentionWarps queries, y head. Only x goes beyond 65535.
  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const int64_t sequence = index.x / args.tiles, tile = index.x % args.tiles;
    if (sequence >= *args.sequences) return;
    const int64_t begin = args.offsets[sequence];
    const int64_t length = args.offsets[sequence + 1] - begin;
    block.each_warp([&](const auto& warp, int w) {
      const int64_t query = tile * kAttentionWarps + w;
      if (query < length) attend(warp, begin, length, query, index.y * args.head_dim);
    });
  }

 private:
  TWOFOUR_HOST_DEVICE float at(const void* matrix, int64_t row, int64_t column) const {
    return to_float(static_cast<const T*>(matrix)[row * args.stride + column]);
  }

  template <class Warp>
  TWOFOUR_DEVICE void attend(const Warp& warp, int64_t begin, int64_t length, int64_t query,
                             int64_t column) const {
    typename Warp::template PerLane<HeadLane> out;
    typename Warp::template PerLane<float> weight;
    warp.each([&](int lane) { out[lane] = HeadLane{}; });
    float top = kNoScore, total = 0;
    for (int64_t first = 0; first < length; first += kLanes) {
      warp.each([&](int lane) {
        const int64_t key = first + lane;
        weight[lane] = key < length ? score(begin + query, begin + key, column) : kNoScore;
      });
      const float next = top > warp.largest(weight) ? top : warp.largest(weight);
      const float factor = power_of_2(top - next);
      top = next;
      warp.each([&](int lane) {
        weight[lane] = first + lane < length ? power_of_2(weight[lane] - top) : 0.0f;
      });
      total = multiply_then_add(total, factor, warp.sum(weight));
      scale_output(warp, out, factor);
      for (int64_t key = first; key < length && key < first + kLanes; ++key)
        add_value(warp, out, warp.from_lane(weight, static_cast<int>(key - first)), begin + key,
                  column);
    }
    store_output(warp, out, divide(1.0f, total), begin + query, column);
  }

  TWOFOUR_HOST_DEVICE float score(int64_t query, int64_t key, int64_t column) const {
    float sum = 0;
    for (int64_t d = column; d < column + args.head_dim; ++d)
      sum = fused(at(args.q, query, d), at(args.k, key, d), sum);
    return sum * args.scale;
  }

  // function(value, dimension) for each dimension that a lane holds.
  template <class Warp, class Function>
  TWOFOUR_DEVICE void each_dimension(const Warp& warp,
                                     typename Warp::template PerLane<HeadLane>& out,
                                     Function function) const {
    warp.each([&](int lane) {
      TWOFOUR_UNROLL
      for (int i = 0; i < kHeadParts; ++i) {
        const int64_t dimension = lane + int64_t{kLanes} * i;
        if (dimension < args.head_dim) function(out[lane].values[i], dimension);
      }
    });
  }

  template <class Warp>
  TWOFOUR_DEVICE void scale_output(const Warp& warp, typename Warp::template PerLane<HeadLane>& out,
                                   float factor) const {
    each_dimension(warp, out, [&](float& value, int64_t) { value *= factor; });
  }

  template <class Warp>
  TWOFOUR_DEVICE void add_value(const Warp& warp, typename Warp::template PerLane<HeadLane>& out,
                                float weight, int64_t key, int64_t column) const {
    each_dimension(warp, out, [&](float& value, int64_t dimension) {
      value = fused(weight, at(args.v, key, column + dimension), value);
    });
  }

  template <class Warp>
  TWOFOUR_DEVICE void store_output(const Warp& warp, typename Warp::template PerLane<HeadLane>& out,
                                   float inverse, int64_t row, int64_t column) const {
    each_dimension(warp, out, [&](float& value, int64_t dimension) {
      const int64_t to = row * args.out_stride + column + dimension;
      const float result = value * inverse;
      if (args.out != nullptr) store(result, 1.0f, static_cast<T*>(args.out)[to]);
      if (args.quantized != nullptr)
        args.quantized[to] = quantize_to_byte(result, args.output_scale, args.e4m3);
    });
  }
};

}  // namespace twofour::cuda
