#include "twofour/backend/cuda/cusparselt.h"

#include <fmt/format.h>

#include "twofour/base/error.h"

namespace twofour::cuda {

void check(const CusparseLt& library, SparseStatus status, std::string_view call) {
  if (status == SparseStatus::kSuccess) return;
  std::string_view remedy;
  if (status == SparseStatus::kArchMismatch)
    remedy = "2:4 products need an NVIDIA GPU of compute capability 8.0 or later";
  throw Error("cuSPARSELt", fmt::format("{} failed: {}", call, library.status_text(status)),
              remedy);
}

}  // namespace twofour::cuda
