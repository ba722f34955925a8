#include "twofour/backend/cuda/cublaslt.h"

#include <fmt/format.h>

#include "twofour/base/error.h"

namespace twofour::cuda {

void check(const CublasLt& library, BlasStatus status, std::string_view call) {
  if (status == BlasStatus::kSuccess) return;
  throw Error("cuBLASLt", fmt::format("{} failed: {}", call, library.status_text(status)));
}

}  // namespace twofour::cuda
