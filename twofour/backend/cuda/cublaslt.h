// The calls of cuBLASLt that dense products need, behind an interface. The library is opened at run
// time; tests put a stand-in in its place.
//
// The library's matrices are in column order. y = x W^T + bias is D = A^T B there:
//
//   W  [n, k]  row-major is A [k, n]
//   x  [m, k]  row-major is B [k, m]
//   y  [m, n]  row-major is D [n, m]; the bias runs along n
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// By the library's own numbers (cublasStatus_t); others may come.
enum class BlasStatus : int {
  kSuccess = 0,
  kNotInitialized = 1,
  kAllocFailed = 3,
  kInvalidValue = 7,
  kArchMismatch = 8,
  kExecutionFailed = 13,
  kInternalError = 14,
  kNotSupported = 15,
};

// Made and destroyed by the library.
using BlasHandle = void*;
using BlasLayout = void*;
using BlasMatmul = void*;

// Of the library version and device that gave it; a plan file keeps its rank in the list instead.
struct DenseAlgorithm {
  std::array<uint64_t, 8> data{};
  size_t workspace_bytes = 0;
};

struct BlasLayouts {
  BlasLayout a = nullptr, b = nullptr, d = nullptr;  // C is D
};

// A handle may be used by several threads; it serves the device that was current at create().
class CublasLt {
 public:
  virtual ~CublasLt() = default;

  virtual int version() const = 0;         // 130100 for 13.1.0
  virtual std::string origin() const = 0;  // the file it was loaded from
  virtual std::string status_text(BlasStatus status) const = 0;

  virtual BlasStatus create(BlasHandle& handle) = 0;
  virtual BlasStatus destroy(BlasHandle handle) = 0;

  // `layout.order` is kColumn.
  virtual BlasStatus create_layout(BlasLayout& made, const MatrixLayout& layout) = 0;
  virtual BlasStatus destroy_layout(BlasLayout layout) = 0;

  // A is transposed, B is not. `sum` is the type of sums, kI32 or kF32; `scale` that of alpha and
  // beta, which is kI32 only where D is.
  virtual BlasStatus create_matmul(BlasMatmul& made, DType sum, DType scale) = 0;
  virtual BlasStatus destroy_matmul(BlasMatmul matmul) = 0;
  // `activation` is kRelu, kGeluTanh or nothing; `bias` [n] of D's type or null.
  virtual BlasStatus set_epilogue(BlasMatmul matmul, std::optional<ActivationKind> activation,
                                  const void* bias) = 0;

  // Up to `wanted` algorithms, the best by the library's own guess first. Pointers of products will
  // be aligned to 16 bytes.
  virtual BlasStatus algorithms(BlasHandle handle, BlasMatmul matmul, const BlasLayouts& layouts,
                                size_t workspace_limit, int wanted,
                                std::vector<DenseAlgorithm>& found) = 0;

  // alpha and beta lie on the host and are of the scale's type. `workspace` holds
  // algorithm.workspace_bytes.
  virtual BlasStatus matmul(BlasHandle handle, BlasMatmul matmul, const BlasLayouts& layouts,
                            const DenseAlgorithm& algorithm, const MatmulPointers& pointers,
                            StreamHandle stream) = 0;
};

// Throws Error("cuBLASLt", "<call> failed: <text>") unless `status` is success.
void check(const CublasLt& library, BlasStatus status, std::string_view call);

// Opens the library that find_cublaslt.h finds; `path` comes before TWOFOUR_CUBLASLT and all
// others. Throws Error that says what was tried and why it was not taken, and in a build without
// CUDA.
std::unique_ptr<CublasLt> open_cublaslt(std::string_view path = {});

}  // namespace twofour::cuda
