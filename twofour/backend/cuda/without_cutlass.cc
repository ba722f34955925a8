// What a build with CUDA and without CUTLASS has in place of its kernels.
#include "twofour/backend/cuda/encoder_kernels_cuda.h"
#include "twofour/base/error.h"

namespace twofour::cuda {

std::string NvidiaKernels::spmm24_cutlass_missing(CutlassForm) const {
  return "built without CUTLASS";
}

void NvidiaKernels::spmm24_cutlass(int, DType, DType, std::optional<ActivationKind>,
                                   const Spmm24CutlassArgs&, StreamHandle) {
  throw Error("spmm24_cutlass", "built without CUTLASS");
}

}  // namespace twofour::cuda
