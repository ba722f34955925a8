// 2:4 products of few rows by mma.sp, with all that follows in one kernel: y = out(activation(scale
// * x W^T + bias)). For few rows memory is the limit: every block reads its rows of W once and all
// of x, from wherever the caches hold it, and there is nothing to plan or to pad.
//
//   x  [m, k]  f16, bf16 or s8, rows x_stride elements apart, m up to 64
//   W  [n, k]  Spmm24MmaWeight, n a multiple of 16
//   y  [m, n]  s8, f16 or bf16, rows y_stride elements apart
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>

#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/mma_sp.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

struct Spmm24MmaArgs {
  const void* x = nullptr;       // aligned to 16 bytes, as every row of it
  const void* values = nullptr;  // Spmm24MmaWeight::values and metadata on the device
  const uint32_t* metadata = nullptr;
  int64_t m = 0, n = 0, k = 0;
  int64_t x_stride = 0, y_stride = 0;  // in elements
  void* y = nullptr;                   // aligned as epilogue.h says
  float input_scale = 1;
  const float* weight_scales = nullptr;  // [n] or null for 1; multiplied by input_scale
  const float* bias = nullptr;           // [n] or null
  float output_scale = 1;                // of int8 results
};

enum class Spmm24MmaOutput { kS8, kF16, kBf16 };

constexpr int64_t kSpmm24MmaRows = 64;

// A block takes 16 rows of W and all rows of x. Its warps take turns along k and add up their sums
// in shared memory. kTiles: groups of 8 rows of x.
template <class Type, int kTiles>
struct Spmm24MmaBody {
  using Sum = typename Type::Sum;
  static constexpr int kWarps = 8;
  static constexpr int kThreads = kWarps * kLanes;
  static constexpr int kTokens = 8 * kTiles;
  static constexpr int kChunks = Type::kBytes;  // of 64 bytes, in a block of 64 along k
  // Sums from one row of x to the next in shared memory: the lanes of a warp meet 32 banks.
  static constexpr int kSumStride = 20;
  static constexpr size_t kSharedBytes = sizeof(Sum) * kWarps * kTokens * kSumStride;
  static_assert(kSharedBytes <= 48 * 1024);

  Spmm24MmaArgs args;
  EpilogueActivation activation = EpilogueActivation::kNone;
  Spmm24MmaOutput output = Spmm24MmaOutput::kS8;

  // Index: x tiles of 16 rows of W.
  template <class Block>
  TWOFOUR_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    auto* sums = reinterpret_cast<Sum*>(block.shared());
    block.each_warp([&](const auto& warp, int w) {
      State<std::remove_cvref_t<decltype(warp)>> state;
      multiply(warp, index.x, w, state);
      spill(warp, sums + w * kTokens * kSumStride, state);
    });
    block.each_thread([&](int thread) { finish(thread, index.x, sums); });
  }

 private:
  // Of one block along k.
  struct Operand {
    MmaSpA chunks[kChunks];
    uint32_t metadata;
  };

  template <class Warp>
  struct State {
    template <class T>
    using PerLane = typename Warp::template PerLane<T>;
    PerLane<Operand> next;
    PerLane<MmaSpD<Sum>> sums[kTiles];
  };

  TWOFOUR_DEVICE int64_t blocks() const { return (args.k + 63) / 64; }

  template <class Warp>
  TWOFOUR_DEVICE void multiply(const Warp& warp, int64_t tile, int w, State<Warp>& state) const {
    warp.each([&](int lane) {
      TWOFOUR_UNROLL
      for (int i = 0; i < kTiles; ++i) state.sums[i][lane] = MmaSpD<Sum>{};
    });
    load_weight(warp, tile, w, state);
    for (int64_t block = w; block < blocks(); block += kWarps) {
      typename State<Warp>::template PerLane<Operand> operand = state.next;
      load_weight(warp, tile, block + kWarps, state);
      multiply_block(warp, block, operand, state);
    }
  }

  // For the next turn, so that memory is under way while the tensor core works.
  template <class Warp>
  TWOFOUR_DEVICE void load_weight(const Warp& warp, int64_t tile, int64_t block,
                                  State<Warp>& state) const {
    if (block >= blocks()) return;
    const int64_t at = tile * blocks() + block;
    warp.each([&](int lane) {
      Operand& operand = state.next[lane];
      TWOFOUR_UNROLL
      for (int c = 0; c < kChunks; ++c) {
        operand.chunks[c] = load_16(static_cast<const std::byte*>(args.values) +
                                    ((at * kChunks + c) * kLanes + lane) * 16);
      }
      operand.metadata = args.metadata[at * kLanes + lane];
    });
  }

  TWOFOUR_DEVICE static MmaSpA load_16(const std::byte* from) {
    struct alignas(16) Vector {
      MmaSpA registers;
    };
    return reinterpret_cast<const Vector*>(from)->registers;
  }

  template <class Warp>
  TWOFOUR_DEVICE void multiply_block(const Warp& warp, int64_t block,
                                     const typename State<Warp>::template PerLane<Operand>& operand,
                                     State<Warp>& state) const {
    typename State<Warp>::template PerLane<MmaSpA> a;
    typename State<Warp>::template PerLane<uint32_t> metadata;
    typename State<Warp>::template PerLane<MmaSpB> b;
    warp.each([&](int lane) { metadata[lane] = operand[lane].metadata; });
    TWOFOUR_UNROLL
    for (int i = 0; i < kTiles; ++i) {
      TWOFOUR_UNROLL
      for (int c = 0; c < kChunks; ++c) {
        warp.each([&](int lane) {
          a[lane] = operand[lane].chunks[c];
          load_input(8 * i + lane / 4, (block * kChunks + c) * 64 + lane % 4 * 16, b[lane]);
        });
        if constexpr (Type::kBytes == 2) split_groups(warp, b);
        if (c == 0)
          multiply_add_sparse<Type, 0>(warp, a, metadata, b, state.sums[i]);
        else if constexpr (kChunks == 2)
          multiply_add_sparse<Type, 1>(warp, a, metadata, b, state.sums[i]);
      }
    }
  }

  // 16 bytes of a row of x, zeros behind the last row and behind its end.
  TWOFOUR_DEVICE void load_input(int64_t row, int64_t byte, MmaSpB& out) const {
    out = MmaSpB{};
    if (row >= args.m || byte >= args.k * Type::kBytes) return;
    const MmaSpA loaded =
        load_16(static_cast<const std::byte*>(args.x) + row * args.x_stride * Type::kBytes + byte);
    TWOFOUR_UNROLL
    for (int i = 0; i < 4; ++i) out.registers[i] = loaded.registers[i];
  }

  // A group of four 16-bit elements belongs to two neighbouring lanes, which have loaded two groups
  // each: the even one takes the first halves of all four groups, the odd one the second halves.
  template <class Warp, class Operands>
  TWOFOUR_DEVICE static void split_groups(const Warp& warp, Operands& b) {
    typename Warp::template PerLane<uint32_t> sent[2];
    warp.each([&](int lane) {
      const uint32_t* mine = b[lane].registers;
      sent[0][lane] = lane % 2 == 0 ? mine[1] : mine[0];
      sent[1][lane] = lane % 2 == 0 ? mine[3] : mine[2];
    });
    swap_pairs(warp, sent[0]);
    swap_pairs(warp, sent[1]);
    warp.each([&](int lane) {
      const MmaSpB mine = b[lane];
      const uint32_t first = sent[0][lane], second = sent[1][lane];
      if (lane % 2 == 0)
        b[lane] = {{mine.registers[0], mine.registers[2], first, second}};
      else
        b[lane] = {{first, second, mine.registers[1], mine.registers[3]}};
    });
  }

  // [kTokens, 16] of this warp.
  template <class Warp>
  TWOFOUR_DEVICE static void spill(const Warp& warp, Sum* sums, const State<Warp>& state) {
    warp.each([&](int lane) {
      TWOFOUR_UNROLL
      for (int i = 0; i < kTiles; ++i) {
        TWOFOUR_UNROLL
        for (int j = 0; j < 4; ++j) {
          const int token = 8 * i + lane % 4 * 2 + j % 2, row = lane / 4 + j / 2 * 8;
          sums[token * kSumStride + row] = state.sums[i][lane].values[j];
        }
      }
    });
  }

  // Four neighbouring results at a time.
  TWOFOUR_DEVICE void finish(int thread, int64_t tile, const Sum* sums) const {
    for (int i = thread; i < args.m * 4; i += kThreads) {
      const int token = i / 4, row = i % 4 * 4;
      float values[4];
      TWOFOUR_UNROLL
      for (int j = 0; j < 4; ++j) {
        Sum sum = 0;
        for (int w = 0; w < kWarps; ++w) sum += sums[(w * kTokens + token) * kSumStride + row + j];
        values[j] = finished(sum, tile * 16 + row + j);
      }
      const int64_t at = token * args.y_stride + tile * 16 + row;
      if (output == Spmm24MmaOutput::kS8)
        store_four(values, static_cast<int8_t*>(args.y) + at);
      else if (output == Spmm24MmaOutput::kF16)
        store_four(values, static_cast<F16*>(args.y) + at);
      else
        store_four(values, static_cast<Bf16*>(args.y) + at);
    }
  }

  TWOFOUR_DEVICE float finished(Sum sum, int64_t column) const {
    const float scale = args.weight_scales == nullptr ? 1.0f : args.weight_scales[column];
    const float bias = args.bias == nullptr ? 0.0f : args.bias[column];
    return activate(activation,
                    multiply_then_add(static_cast<float>(sum), args.input_scale * scale, bias));
  }

  template <class Out>
  TWOFOUR_DEVICE void store_four(const float* values, Out* y) const {
    EpiloguePack<Out> pack;
    TWOFOUR_UNROLL
    for (int j = 0; j < 4; ++j) store(values[j], args.output_scale, pack.values[j]);
    *reinterpret_cast<EpiloguePack<Out>*>(y) = pack;
  }
};

}  // namespace twofour::cuda
