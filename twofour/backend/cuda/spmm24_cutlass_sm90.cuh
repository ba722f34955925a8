// CUTLASS's collectives for wgmma.sp with this project's arithmetic as the node of their epilogue.
#pragma once

#include <cuda_runtime_api.h>

#include <cutlass/cutlass.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cute/tensor.hpp>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/epilogue/fusion/sm90_callbacks_tma_warpspecialized.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

#include "twofour/backend/cuda/spmm24_cutlass_cuda.h"
#include "twofour/backend/cuda/spmm24_cutlass_sm90_config.h"
#include "twofour/base/error.h"

namespace twofour::cuda::sm90 {

namespace fusion = cutlass::epilogue::fusion;

// A result as this project stores it, in CUTLASS's type.
template <class Out>
__device__ __forceinline__ Out stored(float value, float scale) {
  if constexpr (std::is_same_v<Out, int8_t>) {
    return quantize_to_s8(value, scale);
  } else {
    std::conditional_t<std::is_same_v<Out, cutlass::half_t>, F16, Bf16> out;
    store(value, scale, out);
    return Out::bitcast(out.bits);
  }
}

struct FinishArguments {
  EpilogueActivation activation = EpilogueActivation::kNone;
  float input_scale = 1, output_scale = 1;
};

template <class Out>
struct Finish {
  // CUTLASS asks for a template of the array, and for its arguments with another one.
  template <class>
  struct Node {
    using Arguments = FinishArguments;

    template <class Floats>
    CUTLASS_DEVICE cutlass::Array<Out, Floats::kElements> operator()(
        const Floats& sums, const Floats& weight_scales, const Floats& biases,
        const Floats& token_scales, const Floats& residuals, const Arguments& args) const {
      cutlass::Array<Out, Floats::kElements> out;
      CUTLASS_PRAGMA_UNROLL
      for (int i = 0; i < Floats::kElements; ++i) {
        const float value = spmm24_cutlass_value(args.activation, sums[i], args.input_scale,
                                                 token_scales[i], weight_scales[i], biases[i]);
        out[i] = stored<Out>(value + residuals[i], args.output_scale);
      }
      return out;
    }
  };
};

// CUTLASS's M are rows of W, its N tokens.
template <class In, class Sum, class Out, int kTokens>
struct Kernel {
  using Tile = cute::Shape<cute::_128, cute::Int<kTokens>, cute::_128>;
  using Cluster = cute::Shape<cute::_1, cute::_1, cute::_1>;
  static constexpr int kCopied = 16 / sizeof(In), kStored = 16 / sizeof(Out);
  static constexpr bool kResidual = sizeof(Out) == 2;

  using OfRow = fusion::Sm90ColBroadcast<0, Tile, float>;    // one for each row of W
  using OfToken = fusion::Sm90RowBroadcast<0, Tile, float>;  // one for each token
  using Residual = std::conditional_t<
      kResidual, fusion::Sm90AuxLoad<0, void, Out, cutlass::layout::ColumnMajor, void, void>,
      fusion::Sm90ScalarBroadcast<float>>;
  using End = fusion::Sm90EVT<fusion::Sm90Compute<Finish<Out>::template Node, Out, float,
                                                  cutlass::FloatRoundStyle::round_to_nearest>,
                              fusion::Sm90AccFetch, OfRow, OfRow, OfToken, Residual>;
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassSparseTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, Sum, float, void,
      cutlass::layout::ColumnMajor, kStored, Out, cutlass::layout::ColumnMajor, kStored,
      cutlass::epilogue::TmaWarpSpecialized, End>::CollectiveOp;
  using Loop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassSparseTensorOp, In, cutlass::layout::RowMajor,
      kCopied, In, cutlass::layout::ColumnMajor, kCopied, Sum, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(
          sizeof(typename Epilogue::SharedStorage))>,
      cutlass::gemm::KernelTmaWarpSpecializedPingpong>::CollectiveOp;
  using Config = typename Loop::SparseConfig;
  static_assert(std::is_same_v<Config, CutlassSm90Config<In>>, "what the packer was tested with");

  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<
      cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, Loop, Epilogue>>;

  static typename Gemm::Arguments arguments(const Spmm24CutlassLaunch& launch) {
    const Spmm24CutlassArgs& args = launch.args;
    const auto problem = cute::make_shape(static_cast<int>(args.n), static_cast<int>(args.m),
                                          static_cast<int>(args.k), 1);
    // The collectives take some of what they read as not const.
    return {
        cutlass::gemm::GemmUniversalMode::kGemm,
        problem,
        {static_cast<const In*>(args.values), Config::fill_layoutA(problem),
         static_cast<const In*>(args.x), cute::make_stride(args.x_stride, cute::_1{}, int64_t{0}),
         static_cast<const uint8_t*>(args.metadata), Config::fill_layoutE(problem)},
        {end_arguments(launch),
         nullptr,
         {},
         static_cast<Out*>(args.y),
         cute::make_stride(cute::_1{}, args.y_stride, int64_t{0})},
        hardware()};
  }

 private:
  static typename End::Arguments end_arguments(const Spmm24CutlassLaunch& launch) {
    const Spmm24CutlassArgs& args = launch.args;
    return {{},
            {args.weight_scales, 1.0f},
            {args.bias, 0.0f},
            {args.token_scales, 1.0f},
            residual_arguments(args),
            {launch.activation, args.input_scale, args.output_scale}};
  }

  static typename Residual::Arguments residual_arguments(const Spmm24CutlassArgs& args) {
    if constexpr (kResidual) {
      // -0: adding it leaves every number as it is.
      return {static_cast<const Out*>(args.residual), Out(-0.0f),
              cute::make_stride(cute::_1{}, args.residual_stride, int64_t{0})};
    } else {
      return {};
    }
  }

  static cutlass::KernelHardwareInfo hardware() {
    cutlass::KernelHardwareInfo info;
    check(runtime(), static_cast<Status>(cudaGetDevice(&info.device_id)), "cudaGetDevice");
    check(runtime(),
          static_cast<Status>(cudaDeviceGetAttribute(&info.sm_count, cudaDevAttrMultiProcessorCount,
                                                     info.device_id)),
          "cudaDeviceGetAttribute");
    return info;
  }
};

template <class Kernel>
void run(const Spmm24CutlassLaunch& launch) {
  using Gemm = typename Kernel::Gemm;
  const typename Gemm::Arguments arguments = Kernel::arguments(launch);
  Gemm gemm;
  auto* stream = static_cast<cudaStream_t>(launch.stream);
  cutlass::Status status = Gemm::can_implement(arguments);
  if (Gemm::get_workspace_size(arguments) != 0) status = cutlass::Status::kErrorWorkspaceNull;
  if (status == cutlass::Status::kSuccess) status = gemm.initialize(arguments, nullptr, stream);
  if (status == cutlass::Status::kSuccess) status = gemm.run(stream);
  check(runtime(), static_cast<Status>(cudaGetLastError()), "the kernel spmm24_cutlass_sm90");
  if (status != cutlass::Status::kSuccess)
    throw Error("spmm24_cutlass_sm90", cutlass::cutlassGetStatusString(status));
}

template <class In, class Sum, class Out>
void run_tile(const Spmm24CutlassLaunch& launch) {
  if (launch.tokens == 64) return run<Kernel<In, Sum, Out, 64>>(launch);
  run<Kernel<In, Sum, Out, 128>>(launch);
}

}  // namespace twofour::cuda::sm90
