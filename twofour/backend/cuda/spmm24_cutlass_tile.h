// What follows CUTLASS's mma.sp main loop in a block: its warps' sums, turned in shared memory so
// that neighbours in y are neighbours there, become results. Compiled for the device and for the
// host, whose tests run it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "twofour/backend/cuda/spmm24_cutlass.h"
#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

enum class Spmm24CutlassOutput { kS8, kF16, kBf16 };

// A block of kRows rows of W by kTokens rows of x, in warps of kWarpRows by kWarpTokens, those of
// the same tokens first.
template <class SumType, int kRows, int kTokens, int kWarpRows, int kWarpTokens>
struct Spmm24CutlassTile {
  using Sum = SumType;
  static constexpr int kWarps = kRows / kWarpRows * (kTokens / kWarpTokens);
  static constexpr int kThreads = kWarps * kLanes;
  static constexpr int kSums = kWarpRows * kWarpTokens / kLanes;  // of a lane
  // From one token to the next: the lanes of a warp meet 32 banks when they store, and 16 bytes are
  // read at once.
  static constexpr int kStride = kRows + 4;
  static constexpr size_t kSharedBytes = sizeof(Sum) * kTokens * kStride;

  // Where sum `i` of a lane belongs in `sums`: the order of operand D of mma.m16n8 (warp.h), down
  // the rows of W first.
  TWOFOUR_HOST_DEVICE static int place(int warp, int lane, int i) {
    const int product = i / 4, part = i % 4;
    const int row = warp % (kRows / kWarpRows) * kWarpRows + product % (kWarpRows / 16) * 16 +
                    lane / 4 + part / 2 * 8;
    const int token = warp / (kRows / kWarpRows) * kWarpTokens + product / (kWarpRows / 16) * 8 +
                      lane % 4 * 2 + part % 2;
    return token * kStride + row;
  }

  // Of the block at `row` of W and `token`.
  TWOFOUR_HOST_DEVICE static void finish(const Spmm24CutlassArgs& args,
                                         EpilogueActivation activation, Spmm24CutlassOutput output,
                                         int64_t row, int64_t token, int thread, const Sum* sums) {
    if (output == Spmm24CutlassOutput::kS8)
      finish_as<int8_t>(args, activation, row, token, thread, sums);
    else if (output == Spmm24CutlassOutput::kF16)
      finish_as<F16>(args, activation, row, token, thread, sums);
    else
      finish_as<Bf16>(args, activation, row, token, thread, sums);
  }

 private:
  template <class Out>
  TWOFOUR_HOST_DEVICE static void finish_as(const Spmm24CutlassArgs& args,
                                            EpilogueActivation activation, int64_t row,
                                            int64_t token, int thread, const Sum* sums) {
    constexpr int kPacks = kRows / kEpilogueWidth;
    for (int i = thread; i < kTokens * kPacks; i += kThreads) {
      const int64_t to_token = token + i / kPacks;
      const int64_t to_row = row + i % kPacks * kEpilogueWidth;
      if (to_token >= args.m || to_row >= args.n) continue;
      const auto from = *reinterpret_cast<const EpiloguePack<Sum>*>(sums + i / kPacks * kStride +
                                                                    i % kPacks * kEpilogueWidth);
      finish_pack<Out>(args, activation, to_row, to_token, from);
    }
  }

  template <class Out>
  TWOFOUR_HOST_DEVICE static void finish_pack(const Spmm24CutlassArgs& args,
                                              EpilogueActivation activation, int64_t row,
                                              int64_t token, const EpiloguePack<Sum>& sums) {
    const float token_scale = args.token_scales == nullptr ? 1.0f : args.token_scales[token];
    EpiloguePack<Out> out, residual{};
    if (args.residual != nullptr) {
      residual = *reinterpret_cast<const EpiloguePack<Out>*>(
          static_cast<const Out*>(args.residual) + token * args.residual_stride + row);
    }
    for (int i = 0; i < kEpilogueWidth; ++i) {
      const float scale = args.weight_scales == nullptr ? 1.0f : args.weight_scales[row + i];
      const float bias = args.bias == nullptr ? 0.0f : args.bias[row + i];
      float value = spmm24_cutlass_value(activation, to_float(sums.values[i]), args.input_scale,
                                         token_scale, scale, bias);
      if constexpr (sizeof(Out) == 2) {
        if (args.residual != nullptr) value = value + to_float(residual.values[i]);
      }
      store(value, args.output_scale, out.values[i]);
    }
    *reinterpret_cast<EpiloguePack<Out>*>(static_cast<Out*>(args.y) + token * args.y_stride + row) =
        out;
  }
};

}  // namespace twofour::cuda
