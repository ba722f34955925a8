// The calls of cuSPARSELt that 2:4 products need, behind an interface. The library is opened at run
// time; tests put a stand-in in its place.
//
// A product is y = x W^T + bias with the weights as the structured operand A:
//
//   W  [n, k]  2:4 along k, row-major: A
//   x  [m, k]  row-major: B, transposed
//   y  [m, n]  row-major, which is D [n, m] column-major; bias and scales run along n
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// By the library's own numbers (cusparseStatus_t); others may come.
enum class SparseStatus : int {
  kSuccess = 0,
  kNotInitialized = 1,
  kAllocFailed = 2,
  kInvalidValue = 3,
  kArchMismatch = 4,
  kExecutionFailed = 6,
  kInternalError = 7,
  kNotSupported = 10,
  kInsufficientResources = 11,
};

// The library fills these and keeps pointers into them: they must not move. It asks for 1024 bytes
// in 0.7 and for 512 since 0.8.
struct alignas(16) OpaqueObject {
  std::byte bytes[1024];
};
struct Handle : OpaqueObject {};
struct MatrixDescriptor : OpaqueObject {};
struct MatmulDescriptor : OpaqueObject {};
struct AlgSelection : OpaqueObject {};
struct Plan : OpaqueObject {};

enum class Order { kRow, kColumn };

struct MatrixLayout {
  int64_t rows = 0, cols = 0;
  int64_t ld = 0;  // in elements
  DType type = DType::kF16;
  Order order = Order::kRow;
  bool operator==(const MatrixLayout&) const = default;
};

// D = A op(B) + C. `sum` is the type of sums: kI32 or kF32.
struct MatmulOperands {
  const MatrixDescriptor* a = nullptr;
  const MatrixDescriptor* b = nullptr;
  const MatrixDescriptor* c = nullptr;
  const MatrixDescriptor* d = nullptr;
  bool transpose_b = true;
  DType sum = DType::kF32;
};

enum class SplitKMode : int {
  kDefault = 0,  // not set: what the library chooses
  kOneKernel = 1,
  kTwoKernels = 2,
  kHeuristic = 3,
  kDataParallel = 4,
  kSplitK = 5,
  kStreamK = 6,
};

// What a search finds and a plan file keeps.
struct Algorithm {
  int id = 0;
  int split_k = 1;  // or -1, which only Hopper takes: elsewhere the library hangs
  SplitKMode mode = SplitKMode::kDefault;
  int buffers = 0;  // of split-k; 0: not set
  bool operator==(const Algorithm&) const = default;
};

// Device memory, but for alpha and beta: f32 on the host, or alpha an f32 vector [n] on the device
// where the product scales by channel.
struct MatmulPointers {
  const void* alpha = nullptr;
  const void* a = nullptr;  // compressed
  const void* b = nullptr;
  const void* beta = nullptr;
  const void* c = nullptr;
  void* d = nullptr;
  void* workspace = nullptr;
};

// A handle serves one thread at a time and the device that was current at init().
class CusparseLt {
 public:
  virtual ~CusparseLt() = default;

  virtual int version() const = 0;         // 801 for 0.8.1, 1000 for 0.10.0
  virtual std::string origin() const = 0;  // the file it was loaded from
  virtual std::string status_text(SparseStatus status) const = 0;

  virtual SparseStatus init(Handle& handle) = 0;
  virtual SparseStatus destroy(Handle& handle) = 0;

  virtual SparseStatus init_dense(const Handle& handle, MatrixDescriptor& matrix,
                                  const MatrixLayout& layout) = 0;
  virtual SparseStatus init_structured(const Handle& handle, MatrixDescriptor& matrix,
                                       const MatrixLayout& layout) = 0;
  virtual SparseStatus destroy(MatrixDescriptor& matrix) = 0;

  // A matmul descriptor has no destructor in the library.
  virtual SparseStatus init_matmul(const Handle& handle, MatmulDescriptor& matmul,
                                   const MatmulOperands& operands) = 0;
  virtual SparseStatus set_bias(const Handle& handle, MatmulDescriptor& matmul,
                                const void* bias) = 0;
  virtual SparseStatus set_activation(const Handle& handle, MatmulDescriptor& matmul,
                                      ActivationKind activation) = 0;
  virtual SparseStatus set_channel_scales(const Handle& handle, MatmulDescriptor& matmul) = 0;

  // With the library's default algorithm.
  virtual SparseStatus init_selection(const Handle& handle, AlgSelection& selection,
                                      const MatmulDescriptor& matmul) = 0;
  virtual SparseStatus set_algorithm(const Handle& handle, AlgSelection& selection,
                                     const Algorithm& algorithm) = 0;
  virtual SparseStatus get_algorithm(const Handle& handle, const AlgSelection& selection,
                                     Algorithm& algorithm) = 0;
  // How many there are for the product: ids from 0 on.
  virtual SparseStatus algorithm_count(const Handle& handle, const AlgSelection& selection,
                                       int& count) = 0;
  virtual SparseStatus destroy(AlgSelection& selection) = 0;  // a success where there is none (0.7)

  virtual SparseStatus init_plan(const Handle& handle, Plan& plan, const MatmulDescriptor& matmul,
                                 const AlgSelection& selection) = 0;
  virtual SparseStatus destroy(Plan& plan) = 0;
  virtual SparseStatus workspace_bytes(const Handle& handle, const Plan& plan, size_t& bytes) = 0;

  // `d_valid`: an int on the device that becomes 0 where `d_weight` is 2:4.
  virtual SparseStatus check_pruned(const Handle& handle, const MatrixDescriptor& weight,
                                    const void* d_weight, int* d_valid, StreamHandle stream) = 0;
  virtual SparseStatus compressed_bytes(const Handle& handle, const MatrixDescriptor& weight,
                                        size_t& bytes, size_t& buffer_bytes) = 0;
  virtual SparseStatus compress(const Handle& handle, const MatrixDescriptor& weight,
                                const void* d_weight, void* compressed, void* buffer,
                                StreamHandle stream) = 0;

  virtual SparseStatus matmul(const Handle& handle, const Plan& plan,
                              const MatmulPointers& pointers, StreamHandle stream) = 0;
};

// Throws Error("cuSPARSELt", "<call> failed: <text>") unless `status` is success.
void check(const CusparseLt& library, SparseStatus status, std::string_view call);

// An object of the library that is made once and destroyed once.
template <class Object>
class Owned {
 public:
  // `make(object)` returns a status; Error names `call` where it is no success.
  template <class Make>
  Owned(CusparseLt& library, std::string_view call, Make make) : library_(library) {
    check(library, make(object_), call);
  }
  ~Owned() { library_.destroy(object_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  Object& get() { return object_; }
  const Object& get() const { return object_; }

 private:
  CusparseLt& library_;
  Object object_{};
};

// Opens the library that find_cusparselt.h finds; `path` comes before TWOFOUR_CUSPARSELT and all
// others. Throws Error that says what was tried and why it was not taken, and in a build without
// CUDA.
std::unique_ptr<CusparseLt> open_cusparselt(std::string_view path = {});

}  // namespace twofour::cuda
