#include "twofour/backend/cuda/spmm24_cutlass_sm80.cuh"

namespace twofour::cuda {
namespace {

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
  const typename Kernel::Params params = Kernel::params(launch);
  constexpr int kShared = sizeof(typename Kernel::Shared);
  cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  check_launch();
  using Shape = typename Kernel::Mma::Shape;
  const dim3 blocks(static_cast<unsigned>((launch.args.n + Shape::kM - 1) / Shape::kM),
                    static_cast<unsigned>((launch.args.m + Shape::kN - 1) / Shape::kN));
  run_kernel<Kernel>
      <<<blocks, Kernel::Tile::kThreads, kShared, static_cast<cudaStream_t>(launch.stream)>>>(
          params);
  check_launch();
}

template <class Type>
void launch_type(const Spmm24CutlassLaunch& launch) {
  if (launch.rows == 64) return launch_kernel<sm80::Kernel<Type, 64, 64, 32, 32>>(launch);
  if (launch.tokens == 64) return launch_kernel<sm80::Kernel<Type, 128, 64, 64, 32>>(launch);
  launch_kernel<sm80::Kernel<Type, 128, 128, 64, 64>>(launch);
}

}  // namespace

void run_spmm24_cutlass_sm80(const Spmm24CutlassLaunch& launch) {
  if (launch.type == DType::kI8) return launch_type<SparseS8>(launch);
  if (launch.type == DType::kF16) return launch_type<SparseF16>(launch);
  launch_type<SparseBf16>(launch);
}

}  // namespace twofour::cuda
