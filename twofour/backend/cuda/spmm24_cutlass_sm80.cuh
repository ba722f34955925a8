// CUTLASS's main loop for mma.sp with this project's own end: CUTLASS's epilogue for it stores rows
// of W, but y has rows of tokens.
#pragma once

#include <cuda_runtime_api.h>

#include <cutlass/cutlass.h>
#include <cutlass/gemm/threadblock/default_sparse_mma.h>

#include "twofour/backend/cuda/mma_sp.h"
#include "twofour/backend/cuda/spmm24_cutlass_cuda.h"
#include "twofour/backend/cuda/spmm24_cutlass_weight.h"

namespace twofour::cuda::sm80 {

using cutlass::gemm::GemmShape;

template <class Type>
struct Traits;
template <>
struct Traits<SparseF16> {
  using Element = cutlass::half_t;
  using Operator = cutlass::arch::OpMultiplyAdd;
};
template <>
struct Traits<SparseBf16> {
  using Element = cutlass::bfloat16_t;
  using Operator = cutlass::arch::OpMultiplyAdd;
};
template <>
struct Traits<SparseS8> {
  using Element = int8_t;
  using Operator = cutlass::arch::OpMultiplyAddSaturate;
};

template <class Type, int kRows, int kTokens, int kWarpRows, int kWarpTokens>
struct Kernel {
  using Tile = Spmm24CutlassTile<typename Type::Sum, kRows, kTokens, kWarpRows, kWarpTokens>;
  using Element = typename Traits<Type>::Element;
  static constexpr int kDepth = 128 / Type::kBytes;  // of a step along k
  static constexpr int kStages = 3;
  static constexpr int kCopied = 16 / Type::kBytes;  // elements at once
  using Mma = typename cutlass::gemm::threadblock::DefaultSparseMma<
      Element, cutlass::layout::RowMajor, kCopied, Element, cutlass::layout::ColumnMajor, kCopied,
      typename Type::Sum, cutlass::layout::RowMajor, cutlass::arch::OpClassTensorOp,
      cutlass::arch::Sm80, GemmShape<kRows, kTokens, kDepth>,
      GemmShape<kWarpRows, kWarpTokens, kDepth>, GemmShape<16, 8, 64 / Type::kBytes>, kStages,
      typename Traits<Type>::Operator>::ThreadblockMma;

  // What spmm24_cutlass_weight.h and the tile rely on.
  static_assert(std::is_same_v<typename Mma::LayoutE, cutlass::layout::ColumnMajorInterleaved<2>>);
  static_assert(sizeof(typename Mma::ElementE) == (Type::kBytes == 2 ? 2 : 4));
  static_assert(Mma::WarpCount::kCount == Tile::kWarps && Mma::WarpCount::kK == 1);
  static_assert(Mma::FragmentC::kElements == Tile::kSums);

  union Shared {
    typename Mma::SharedStorage loop;
    typename Type::Sum sums[kTokens * Tile::kStride];
  };
  static_assert(sizeof(Shared) <= 99 * 1024, "what a block of 8.6 and 8.9 has");

  struct Params {
    typename Mma::IteratorA::Params values;
    typename Mma::IteratorB::Params x;
    typename Mma::IteratorE::Params metadata;
    int metadata_rows;
    Spmm24CutlassArgs args;
    EpilogueActivation activation;
    Spmm24CutlassOutput output;
  };

  static Params params(const Spmm24CutlassLaunch& launch) {
    const Spmm24CutlassArgs& args = launch.args;
    const auto metadata_rows = static_cast<int>(spmm24_cutlass_rows(CutlassForm::kSm80, args.n));
    return {{cutlass::layout::RowMajor(args.k / 2)},
            {cutlass::layout::ColumnMajor(args.x_stride)},
            {typename Mma::LayoutE(metadata_rows * 2)},
            metadata_rows,
            args,
            launch.activation,
            launch.output};
  }

  // What a thread reads for the block at `row` of W and `token`. The iterators take it as not
  // const.
  TWOFOUR_HOST_DEVICE static typename Mma::IteratorA values(const Params& params, int thread,
                                                            int row) {
    const Spmm24CutlassArgs& args = params.args;
    return {params.values,
            static_cast<Element*>(const_cast<void*>(args.values)),
            {static_cast<int>(args.n), static_cast<int>(args.k / 2)},
            thread,
            {row, 0}};
  }
  TWOFOUR_HOST_DEVICE static typename Mma::IteratorB x(const Params& params, int thread,
                                                       int token) {
    const Spmm24CutlassArgs& args = params.args;
    return {params.x,
            static_cast<Element*>(const_cast<void*>(args.x)),
            {static_cast<int>(args.k), static_cast<int>(args.m)},
            thread,
            {0, token}};
  }
  TWOFOUR_HOST_DEVICE static typename Mma::IteratorE metadata(const Params& params, int thread,
                                                              int row) {
    const Spmm24CutlassArgs& args = params.args;
    return {params.metadata,
            static_cast<typename Mma::ElementE*>(const_cast<void*>(args.metadata)),
            {params.metadata_rows, static_cast<int>(args.k / 2 / Mma::kElementsPerElementE)},
            thread,
            {row, 0}};
  }

  static __device__ void run(const Params& params, Shared& shared) {
    const int thread = static_cast<int>(threadIdx.x);
    const int row = static_cast<int>(blockIdx.x) * kRows;
    const int token = static_cast<int>(blockIdx.y) * kTokens;
    const int warp = cutlass::canonical_warp_idx_sync();
    Mma mma(shared.loop, thread, warp, thread % kLanes);
    typename Mma::FragmentC sums;
    sums.clear();
    mma(static_cast<int>(params.args.k / kDepth), sums, values(params, thread, row),
        x(params, thread, token), metadata(params, thread, row), sums);  // ends with a barrier
    TWOFOUR_UNROLL
    for (int i = 0; i < Tile::kSums; ++i)
      shared.sums[Tile::place(warp, thread % kLanes, i)] = sums[i];
    __syncthreads();
    Tile::finish(params.args, params.activation, params.output, row, token, thread, shared.sums);
  }
};

}  // namespace twofour::cuda::sm80
