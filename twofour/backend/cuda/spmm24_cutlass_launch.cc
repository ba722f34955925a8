// The kernels on CUTLASS of this build. TWOFOUR_CUTLASS_SM90 says whether it has code for sm_90a.
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/backend/cuda/spmm24_cutlass_cuda.h"
#include "twofour/backend/cuda/spmm24_mma_launch.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

void run_sm90(const Spmm24CutlassLaunch& launch) {
  if constexpr (TWOFOUR_CUTLASS_SM90) {
    if (launch.type == DType::kI8) return run_spmm24_cutlass_sm90_s8(launch);
    run_spmm24_cutlass_sm90_half(launch);
  }
}

}  // namespace

std::string NvidiaKernels::spmm24_cutlass_missing(CutlassForm form) const {
  return form == CutlassForm::kSm90 && !TWOFOUR_CUTLASS_SM90 ? "built without code for sm_90a" : "";
}

void NvidiaKernels::spmm24_cutlass(int variant, DType type, DType output,
                                   std::optional<ActivationKind> activation,
                                   const Spmm24CutlassArgs& args, StreamHandle stream) {
  check_spmm24_cutlass(variant, type, output, args);
  if (args.m == 0) return;
  const Spmm24CutlassVariant& tile = kSpmm24CutlassVariants[variant];
  if (const std::string missing = spmm24_cutlass_missing(tile.form); !missing.empty())
    throw Error("spmm24_cutlass", missing);
  const auto stored = output == DType::kI8    ? Spmm24CutlassOutput::kS8
                      : output == DType::kF16 ? Spmm24CutlassOutput::kF16
                                              : Spmm24CutlassOutput::kBf16;
  const Spmm24CutlassLaunch launch{
      tile.rows, tile.tokens, type, stored, epilogue_activation(activation), args, stream};
  tile.form == CutlassForm::kSm80 ? run_spmm24_cutlass_sm80(launch) : run_sm90(launch);
}

}  // namespace twofour::cuda
