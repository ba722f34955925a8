// Kernels of one linear layer on the device, best first, as backend/backends.h lists those of the
// CPU:
//
//   y = out(activation(input_scale * scales * x W^T + bias))
//
//   x       [m, k]  f16, bf16 or s8
//   W       [n, k]  of x's type
//   scales  [n]     f32, for s8
//   bias    [n]     f32
//   y       [m, n]  s8 (by output_scale), f16 or bf16
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "twofour/backend/cuda/dense.h"
#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/plan_cache.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/backend/cuda/spmm24.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

struct DeviceLinearDesc {
  int64_t n = 0, k = 0;
  DType input = DType::kF16;   // kF16, kBF16 or kI8
  DType output = DType::kF16;  // kF16, kBF16 or kI8
  std::optional<ActivationKind> activation;
  bool sparse = false;  // W is 2:4 along k

  std::string to_string() const;  // "I8 [3072, 768] -> I8"
  // What a library computes of it, before epilogue.h: int8 sums, or the input's own type.
  ProductDesc product() const;
};

// What a device has. All pointers outlive whatever is made with them.
struct DeviceContext {
  Runtime* runtime = nullptr;
  int device = 0;
  DeviceProperties properties;
  EncoderKernels* kernels = nullptr;
  PlanCache* sparse = nullptr;  // null where cuSPARSELt was not found
  std::string sparse_missing;   // why
  DenseCache* dense = nullptr;  // null where cuBLASLt was not found
  std::string dense_missing;
};

// On the host.
struct DeviceWeightSource {
  const void* weight = nullptr;   // [n, k], row-major, zeros in place
  const float* scales = nullptr;  // [n] for int8, else null
  const float* bias = nullptr;    // [n] or null
};

// A weight in a kernel's own order, on the device.
class DeviceWeight {
 public:
  virtual ~DeviceWeight() = default;
  virtual size_t bytes() const = 0;
};

// All device memory, aligned to 16 bytes.
struct DeviceLinearArgs {
  int64_t m = 0;
  int64_t room = 0;  // rows that may be read from x and written to y: m or more
  const void* x = nullptr;
  void* y = nullptr;
  float input_scale = 1;
  float output_scale = 1;
};

// Memory that the layers of one stream share; grows to what they need.
struct DeviceScratch {
  SpmmScratch sparse;
  DenseScratch dense;
  DeviceBuffer sums;
};

// Stateless and thread-safe.
class DeviceKernel {
 public:
  virtual ~DeviceKernel() = default;

  virtual std::string_view name() const = 0;
  virtual bool sparse() const = 0;  // made for 2:4 weights, as opposed to running any

  // Why it cannot compute `desc` with m rows there; nothing if it can.
  std::optional<std::string> supports(const DeviceContext& context, const DeviceLinearDesc& desc,
                                      int64_t m) const;

  // Waits for `stream`. Throws Error naming `name` (a tensor): not 2:4, out of memory.
  virtual std::unique_ptr<DeviceWeight> pack(const DeviceContext& context,
                                             const DeviceLinearDesc& desc,
                                             const DeviceWeightSource& source, StreamHandle stream,
                                             std::string_view name) const = 0;

  // Enqueues the layer; `weight` is one that pack() made for `desc`.
  virtual void run(const DeviceContext& context, const DeviceLinearDesc& desc,
                   const DeviceWeight& weight, const DeviceLinearArgs& args, StreamHandle stream,
                   DeviceScratch& scratch) const = 0;

 private:
  virtual std::optional<std::string> rejects(const DeviceContext& context,
                                             const DeviceLinearDesc& desc, int64_t m) const = 0;
};

// Best first. The order among 2:4 kernels is a guess until it is measured: a plan file overrides
// it.
std::span<const DeviceKernel* const> device_kernel_list();

const DeviceKernel& device_kernel(std::string_view name);  // throws Error for an unknown name

// That of `choice`, where given and able, else the first in the list that can. Throws Error with
// all reasons where none can.
const DeviceKernel& select_device_kernel(const DeviceContext& context, const DeviceLinearDesc& desc,
                                         int64_t m, const PlanChoice* choice = nullptr);

// The files that the list consists of.
const DeviceKernel& spmm24_cusparselt_kernel();
const DeviceKernel& spmm24_mma_kernel();
const DeviceKernel& spmm24_cutlass_kernel(CutlassForm form);
const DeviceKernel& matmul_cublaslt_kernel();
const DeviceKernel& device_reference_kernel();

}  // namespace twofour::cuda
