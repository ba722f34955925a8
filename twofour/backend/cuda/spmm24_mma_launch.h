// Which body of spmm24_mma.h runs over how many blocks: the same for the device's launcher
// (cuda_launcher.cuh) and for that of tests (host_block.h).
#pragma once

#include <optional>

#include "twofour/backend/cuda/spmm24_mma.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// Throws Error unless m is 0 to 64, n a multiple of 16, rows and addresses are aligned to 16 bytes
// (y and its rows to four elements), and types and activation are those of
// ProductKernels::spmm24_mma().
void check_spmm24_mma(DType type, DType output, const Spmm24MmaArgs& args);

inline EpilogueActivation epilogue_activation(std::optional<ActivationKind> kind) {
  if (!kind) return EpilogueActivation::kNone;
  switch (*kind) {
    case ActivationKind::kGelu:
      return EpilogueActivation::kGelu;
    case ActivationKind::kGeluTanh:
      return EpilogueActivation::kGeluTanh;
    case ActivationKind::kRelu:
      return EpilogueActivation::kRelu;
    case ActivationKind::kTanh:
      return EpilogueActivation::kTanh;
  }
  __builtin_unreachable();
}

template <class Type, class Launcher>
void launch_spmm24_mma_of(const Launcher& launcher, const Spmm24MmaArgs& args,
                          EpilogueActivation activation, Spmm24MmaOutput output) {
  const Grid grid{args.n / 16};
  if (args.m <= 8) return launcher.run(grid, Spmm24MmaBody<Type, 1>{args, activation, output});
  if (args.m <= 16) return launcher.run(grid, Spmm24MmaBody<Type, 2>{args, activation, output});
  if (args.m <= 32) return launcher.run(grid, Spmm24MmaBody<Type, 4>{args, activation, output});
  launcher.run(grid, Spmm24MmaBody<Type, 8>{args, activation, output});
}

template <class Launcher>
void launch_spmm24_mma(const Launcher& launcher, DType type, DType output,
                       std::optional<ActivationKind> kind, const Spmm24MmaArgs& args) {
  const EpilogueActivation activation = epilogue_activation(kind);
  const auto result = output == DType::kI8    ? Spmm24MmaOutput::kS8
                      : output == DType::kF16 ? Spmm24MmaOutput::kF16
                                              : Spmm24MmaOutput::kBf16;
  if (type == DType::kI8) return launch_spmm24_mma_of<SparseS8>(launcher, args, activation, result);
  if (type == DType::kF16)
    return launch_spmm24_mma_of<SparseF16>(launcher, args, activation, result);
  launch_spmm24_mma_of<SparseBf16>(launcher, args, activation, result);
}

}  // namespace twofour::cuda
