// Attention by tensor cores: fp16 or bf16, head_dim 16, 32, 64 or 128.
#pragma once

#include "twofour/backend/cuda/attention.h"

namespace twofour::cuda {

// A block takes 64 queries of a head, 16 for each warp, and goes over the keys in tiles of 64,
// which it copies to shared memory with the values. Scores, weights and output stay in registers:
// the operands of mma.m16n8k16, whose results of one product are the left operand of the next.
template <class Half, int kHeadDim>
struct AttentionMmaBody {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * kLanes;
  static constexpr int kQueries = 16 * kWarps;  // of a block
  static constexpr int kKeys = 64;              // of a tile
  // Elements from row to row of a tile: 16 bytes more than a row, so that the rows that a warp
  // reads at once start in different banks.
  static constexpr int kRow = kHeadDim + 8;
  static constexpr size_t kSharedBytes = 2 * size_t{kKeys} * kRow * sizeof(Half);
  static_assert(kHeadDim % 16 == 0 && kSharedBytes <= 48 * 1024);

  DeviceAttentionArgs args;

  // Index: x sequence * tiles + group of kQueries queries, y head. Only x goes beyond 65535.
  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const int64_t sequence = index.x / args.tiles, tile = index.x % args.tiles;
    if (sequence >= *args.sequences) return;
    const Place place{args.offsets[sequence], args.offsets[sequence + 1] - args.offsets[sequence],
                      tile * kQueries, index.y * kHeadDim};
    if (place.first_query >= place.length) return;
    auto* keys = reinterpret_cast<Half*>(block.shared());
    Half* values = keys + kKeys * kRow;
    typename Block::template PerWarp<WarpState<typename Block::Warp>> states;
    block.each_warp([&](const auto& warp, int w) { begin(warp, place, w, states[w]); });
    for (int64_t key = 0; key < place.length; key += kKeys) {
      block.each_thread([&](int thread) {
        copy_tile(thread, args.k, place, key, keys);
        copy_tile(thread, args.v, place, key, values);
      });
      block.each_warp([&](const auto& warp, int w) {
        weigh(warp, place.length - key, keys, states[w]);
        add_values(warp, values, states[w]);
      });
    }
    block.each_warp([&](const auto& warp, int w) { finish(warp, place, w, states[w]); });
  }

 private:
  static constexpr int kSteps = kHeadDim / 16;     // products along the head's dimensions
  static constexpr int kKeyGroups = kKeys / 8;     // columns of the scores, by mma's width
  static constexpr int kOutGroups = kHeadDim / 8;  // columns of the output

  struct Place {
    int64_t begin, length;  // tokens of the sequence
    int64_t first_query;    // of the block, in the sequence
    int64_t column;         // of the head
  };

  template <class Warp>
  struct WarpState {
    template <class T>
    using PerLane = typename Warp::template PerLane<T>;
    PerLane<MmaA> q[kSteps];
    PerLane<MmaC> scores[kKeyGroups];
    PerLane<MmaC> out[kOutGroups];
    // Of the rows lane / 4 and lane / 4 + 8: the same in the four lanes of a row, but for `total`,
    // which holds each lane's share.
    PerLane<float> top[2], total[2], factor[2];
  };

  // Elements 2 i and 2 i + 1 of a row, as one register; zeros for a row that there is not.
  TWOFOUR_HOST_DEVICE static uint32_t load_pair(const Half* row, int64_t column, bool exists) {
    return exists ? *reinterpret_cast<const uint32_t*>(row + column) : 0u;
  }

  template <class Warp>
  TWOFOUR_DEVICE void begin(const Warp& warp, const Place& place, int w,
                            WarpState<Warp>& state) const {
    warp.each([&](int lane) {
      const int64_t row = place.first_query + 16 * w + lane / 4;
      const Half* upper =
          static_cast<const Half*>(args.q) + (place.begin + row) * args.stride + place.column;
      const Half* lower = upper + 8 * args.stride;
      const bool has_upper = row < place.length, has_lower = row + 8 < place.length;
      TWOFOUR_UNROLL
      for (int s = 0; s < kSteps; ++s) {
        const int column = 16 * s + lane % 4 * 2;
        uint32_t* q = state.q[s][lane].registers;
        q[0] = load_pair(upper, column, has_upper);
        q[1] = load_pair(lower, column, has_lower);
        q[2] = load_pair(upper, column + 8, has_upper);
        q[3] = load_pair(lower, column + 8, has_lower);
      }
      TWOFOUR_UNROLL
      for (int i = 0; i < kOutGroups; ++i) state.out[i][lane] = MmaC{};
      TWOFOUR_UNROLL
      for (int half = 0; half < 2; ++half) {
        state.top[half][lane] = kNoScore;
        state.total[half][lane] = 0.0f;
      }
    });
  }

  // Rows [first, first + kKeys) of the sequence's keys or values to a tile, 16 bytes at a time;
  // zeros behind the last.
  TWOFOUR_DEVICE void copy_tile(int thread, const void* matrix, const Place& place, int64_t first,
                                Half* tile) const {
    constexpr int kWidth = 8;
    constexpr int kPacks = kHeadDim / kWidth;
    const Half* from = static_cast<const Half*>(matrix) + place.begin * args.stride + place.column;
    for (int i = thread; i < kKeys * kPacks; i += kThreads) {
      const int row = i / kPacks, column = i % kPacks * kWidth;
      Pack<Half, kWidth> pack{};
      if (first + row < place.length)
        pack = *reinterpret_cast<const Pack<Half, kWidth>*>(from + (first + row) * args.stride +
                                                            column);
      *reinterpret_cast<Pack<Half, kWidth>*>(tile + row * kRow + column) = pack;
    }
  }

  // Scores of a tile's keys, of which `left` are in the sequence, to weights relative to the
  // largest score so far.
  template <class Warp>
  TWOFOUR_DEVICE void weigh(const Warp& warp, int64_t left, const Half* keys,
                            WarpState<Warp>& state) const {
    multiply_keys(warp, keys, state);
    scale_scores(warp, left, state);
    TWOFOUR_UNROLL
    for (int half = 0; half < 2; ++half) update_top(warp, half, state);
    warp.each([&](int lane) {
      TWOFOUR_UNROLL
      for (int g = 0; g < kKeyGroups; ++g) {
        TWOFOUR_UNROLL
        for (int i = 0; i < 4; ++i) {
          float& score = state.scores[g][lane].values[i];
          score = power_of_2(score - state.top[i / 2][lane]);
          state.total[i / 2][lane] += score;
        }
      }
      TWOFOUR_UNROLL
      for (int o = 0; o < kOutGroups; ++o) {
        TWOFOUR_UNROLL
        for (int i = 0; i < 4; ++i) state.out[o][lane].values[i] *= state.factor[i / 2][lane];
      }
    });
  }

  template <class Warp>
  TWOFOUR_DEVICE void multiply_keys(const Warp& warp, const Half* keys,
                                    WarpState<Warp>& state) const {
    typename Warp::template PerLane<MmaB> key;
    TWOFOUR_UNROLL
    for (int g = 0; g < kKeyGroups; ++g) {
      warp.each([&](int lane) { state.scores[g][lane] = MmaC{}; });
      TWOFOUR_UNROLL
      for (int s = 0; s < kSteps; ++s) {
        warp.each([&](int lane) {
          const Half* row = keys + (8 * g + lane / 4) * kRow + 16 * s + lane % 4 * 2;
          key[lane].registers[0] = load_pair(row, 0, true);
          key[lane].registers[1] = load_pair(row, 8, true);
        });
        warp.template multiply_add<Half>(state.q[s], key, state.scores[g]);
      }
    }
  }

  template <class Warp>
  TWOFOUR_DEVICE void scale_scores(const Warp& warp, int64_t left, WarpState<Warp>& state) const {
    warp.each([&](int lane) {
      TWOFOUR_UNROLL
      for (int g = 0; g < kKeyGroups; ++g) {
        TWOFOUR_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int key = 8 * g + lane % 4 * 2 + i % 2;
          float& score = state.scores[g][lane].values[i];
          score = key < left ? score * args.scale : 2 * kNoScore;
        }
      }
    });
  }

  // The largest score of each row so far, and what sums relative to the one before are multiplied
  // by.
  template <class Warp>
  TWOFOUR_DEVICE void update_top(const Warp& warp, int half, WarpState<Warp>& state) const {
    typename Warp::template PerLane<float> top;
    warp.each([&](int lane) {
      top[lane] = state.top[half][lane];
      TWOFOUR_UNROLL
      for (int g = 0; g < kKeyGroups; ++g) {
        TWOFOUR_UNROLL
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          const float score = state.scores[g][lane].values[i];
          top[lane] = score > top[lane] ? score : top[lane];
        }
      }
    });
    warp.largest_of_quads(top);
    warp.each([&](int lane) {
      state.factor[half][lane] = power_of_2(state.top[half][lane] - top[lane]);
      state.total[half][lane] *= state.factor[half][lane];
      state.top[half][lane] = top[lane];
    });
  }

  // The weights of two groups of keys are the left operand; two groups of the values' columns are
  // loaded at once, transposed.
  template <class Warp>
  TWOFOUR_DEVICE void add_values(const Warp& warp, const Half* values,
                                 WarpState<Warp>& state) const {
    typename Warp::template PerLane<MmaA> weight, loaded;
    typename Warp::template PerLane<const void*> rows;
    typename Warp::template PerLane<MmaB> value;
    TWOFOUR_UNROLL
    for (int g = 0; g < kKeyGroups; g += 2) {
      warp.each([&](int lane) { weight[lane] = weights_of(state, g, lane); });
      TWOFOUR_UNROLL
      for (int o = 0; o < kOutGroups; o += 2) {
        warp.each([&](int lane) {
          // Matrices 0 and 1: keys 0 to 7 and 8 to 15 of group o; 2 and 3: of group o + 1.
          rows[lane] = values + (8 * g + lane % 16) * kRow + 8 * (o + lane / 16);
        });
        warp.load_transposed(rows, loaded);
        TWOFOUR_UNROLL
        for (int i = 0; i < 2; ++i) {
          warp.each([&](int lane) {
            value[lane].registers[0] = loaded[lane].registers[2 * i];
            value[lane].registers[1] = loaded[lane].registers[2 * i + 1];
          });
          warp.template multiply_add<Half>(weight, value, state.out[o + i]);
        }
      }
    }
  }

  template <class Warp>
  TWOFOUR_DEVICE static MmaA weights_of(const WarpState<Warp>& state, int g, int lane) {
    const float* first = state.scores[g][lane].values;
    const float* second = state.scores[g + 1][lane].values;
    return {{pack_rounded<Half>(first[0], first[1]), pack_rounded<Half>(first[2], first[3]),
             pack_rounded<Half>(second[0], second[1]), pack_rounded<Half>(second[2], second[3])}};
  }

  template <class Warp>
  TWOFOUR_DEVICE void finish(const Warp& warp, const Place& place, int w,
                             WarpState<Warp>& state) const {
    TWOFOUR_UNROLL
    for (int half = 0; half < 2; ++half) {
      warp.sum_quads(state.total[half]);
      warp.each([&](int lane) {
        const int64_t row = place.first_query + 16 * w + lane / 4 + 8 * half;
        if (row >= place.length) return;
        const float inverse = divide(1.0f, state.total[half][lane]);
        const int64_t at = (place.begin + row) * args.out_stride + place.column + lane % 4 * 2;
        TWOFOUR_UNROLL
        for (int o = 0; o < kOutGroups; ++o) {
          const float* out = state.out[o][lane].values + 2 * half;
          store_pair(at + 8 * o, out[0] * inverse, out[1] * inverse);
        }
      });
    }
  }

  TWOFOUR_DEVICE void store_pair(int64_t at, float first, float second) const {
    if (args.out != nullptr)
      *reinterpret_cast<uint32_t*>(static_cast<Half*>(args.out) + at) =
          pack_rounded<Half>(first, second);
    if (args.quantized == nullptr) return;
    args.quantized[at] = quantize_to_byte(first, args.output_scale, args.e4m3);
    args.quantized[at + 1] = quantize_to_byte(second, args.output_scale, args.e4m3);
  }
};

}  // namespace twofour::cuda
