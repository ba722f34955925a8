// What a build without CUDA has in place of the runtime and the libraries: errors that say so.
#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/epilogue_launch.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

[[noreturn]] void throw_built_without(std::string_view where) {
  throw Error(where, "built without CUDA", "Build the preset cuda");
}

}  // namespace

Runtime& runtime() { throw_built_without("cuda"); }

std::unique_ptr<CusparseLt> open_cusparselt(std::string_view) { throw_built_without("cuSPARSELt"); }

EncoderKernels& encoder_kernels() { throw_built_without("cuda"); }

std::unique_ptr<CublasLt> open_cublaslt(std::string_view) { throw_built_without("cuBLASLt"); }

void run_epilogue(DType, DType, std::optional<ActivationKind>, const EpilogueArgs&, StreamHandle) {
  throw_built_without("epilogue");
}

}  // namespace twofour::cuda
