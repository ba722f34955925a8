// CUTLASS's main loop for mma.sp with this project's own end: CUTLASS's epilogue for it stores rows
// of W, but y has rows of tokens.
#include <cuda_runtime_api.h>

#include <cutlass/cutlass.h>
#include <cutlass/gemm/threadblock/default_sparse_mma.h>

#include "twofour/backend/cuda/mma_sp.h"
#include "twofour/backend/cuda/spmm24_cutlass_cuda.h"
#include "twofour/backend/cuda/spmm24_cutlass_weight.h"

namespace twofour::cuda {
namespace {

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

  static __device__ void run(const Params& params, Shared& shared) {
    const Spmm24CutlassArgs& args = params.args;
    const int thread = static_cast<int>(threadIdx.x);
    const int row = static_cast<int>(blockIdx.x) * kRows;
    const int token = static_cast<int>(blockIdx.y) * kTokens;
    const int n = static_cast<int>(args.n), m = static_cast<int>(args.m);
    const int k = static_cast<int>(args.k);
    // The iterators take what they read as not const.
    typename Mma::IteratorA values(params.values,
                                   static_cast<Element*>(const_cast<void*>(args.values)),
                                   {n, k / 2}, thread, {row, 0});
    typename Mma::IteratorB x(params.x, static_cast<Element*>(const_cast<void*>(args.x)), {k, m},
                              thread, {0, token});
    typename Mma::IteratorE metadata(
        params.metadata, static_cast<typename Mma::ElementE*>(const_cast<void*>(args.metadata)),
        {params.metadata_rows, k / 2 / Mma::kElementsPerElementE}, thread, {row, 0});
    const int warp = cutlass::canonical_warp_idx_sync();
    Mma mma(shared.loop, thread, warp, thread % kLanes);
    typename Mma::FragmentC sums;
    sums.clear();
    mma(k / kDepth, sums, values, x, metadata, sums);  // ends with a barrier
    TWOFOUR_UNROLL
    for (int i = 0; i < Tile::kSums; ++i)
      shared.sums[Tile::place(warp, thread % kLanes, i)] = sums[i];
    __syncthreads();
    Tile::finish(args, params.activation, params.output, row, token, thread, shared.sums);
  }
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::Tile::kThreads)
    run_kernel(const typename Kernel::Params params) {
  extern __shared__ __align__(128) std::byte shared[];
  Kernel::run(params, *reinterpret_cast<typename Kernel::Shared*>(shared));
}

void check_launch() {
  check(runtime(), static_cast<Status>(cudaGetLastError()), "the kernel spmm24_cutlass_sm80");
}

template <class Kernel>
void launch_kernel(const Spmm24CutlassLaunch& launch) {
  const Spmm24CutlassArgs& args = launch.args;
  const auto metadata_rows = static_cast<int>(spmm24_cutlass_rows(CutlassForm::kSm80, args.n));
  const typename Kernel::Params params{{cutlass::layout::RowMajor(args.k / 2)},
                                       {cutlass::layout::ColumnMajor(args.x_stride)},
                                       {typename Kernel::Mma::LayoutE(metadata_rows * 2)},
                                       metadata_rows,
                                       args,
                                       launch.activation,
                                       launch.output};
  constexpr int kShared = sizeof(typename Kernel::Shared);
  cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check_launch();
  using Shape = typename Kernel::Mma::Shape;
  const dim3 blocks(static_cast<unsigned>((args.n + Shape::kM - 1) / Shape::kM),
                    static_cast<unsigned>((args.m + Shape::kN - 1) / Shape::kN));
  run_kernel<Kernel>
      <<<blocks, Kernel::Tile::kThreads, kShared, static_cast<cudaStream_t>(launch.stream)>>>(
          params);
  check_launch();
}

template <class Type>
void launch_type(const Spmm24CutlassLaunch& launch) {
  if (launch.rows == 64) return launch_kernel<Kernel<Type, 64, 64, 32, 32>>(launch);
  if (launch.tokens == 64) return launch_kernel<Kernel<Type, 128, 64, 64, 32>>(launch);
  launch_kernel<Kernel<Type, 128, 128, 64, 64>>(launch);
}

}  // namespace

void run_spmm24_cutlass_sm80(const Spmm24CutlassLaunch& launch) {
  if (launch.type == DType::kI8) return launch_type<SparseS8>(launch);
  if (launch.type == DType::kF16) return launch_type<SparseF16>(launch);
  launch_type<SparseBf16>(launch);
}

}  // namespace twofour::cuda
