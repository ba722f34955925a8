// A device as an engine uses it: the runtime, our kernels and NVIDIA's libraries, each opened when
// first needed, with the plans of one engine.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/dense.h"
#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/plan_cache.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

// NVIDIA's, or stand-ins for tests. Runtime and kernels must outlive what is made from them.
struct DeviceLibraries {
  Runtime* runtime = nullptr;
  EncoderKernels* kernels = nullptr;
  std::function<std::unique_ptr<CusparseLt>()> open_cusparselt;
  std::function<std::unique_ptr<CublasLt>()> open_cublaslt;
};

// Throws Error in a build without CUDA.
DeviceLibraries nvidia_libraries();

// "cuda:1" is 1, "cuda" is 0. Throws Error for another name; `where` says what gave it, `known`
// what there is, where that is not what this build has.
int device_ordinal(std::string_view name, std::string_view where = "device",
                   std::string_view known = {});

// Rows of products: 16, 32, 48, 64, then four to each power of 2. At most a quarter of the rows is
// padding from 64 on.
Buckets encoder_buckets(int64_t limit);

class Device {
 public:
  // Throws Error that says what is missing: a driver, one that is new enough, the device, or one of
  // compute capability 8.0.
  // `max_plans` of each library are kept; 0: enough for every layer and bucket. `plans`: kernels
  // and algorithms that a search found.
  Device(DeviceLibraries libraries, int ordinal, const Buckets& buckets, size_t max_plans = 0,
         PlanTable plans = {});

  Runtime& runtime() const { return *libraries_.runtime; }
  EncoderKernels& kernels() const { return *libraries_.kernels; }
  int ordinal() const { return ordinal_; }
  std::string name() const { return "cuda:" + std::to_string(ordinal_); }
  const DeviceProperties& properties() const { return properties_; }
  const Buckets& buckets() const { return buckets_; }
  const PlanTable& plans() const { return plans_; }

  // Open the library on first use. Throw Error where it is not found. Thread-safe.
  PlanCache& sparse();
  DenseCache& dense();

  // The library that computes one more layer, with room for its plans.
  PlanCache& add_sparse_layer();
  DenseCache& add_dense_layer();

 private:
  DeviceLibraries libraries_;
  int ordinal_;
  Buckets buckets_;
  size_t max_plans_;
  PlanTable plans_;
  DeviceProperties properties_;
  std::mutex mutex_;
  std::atomic<size_t> sparse_layers_ = 0, dense_layers_ = 0;
  std::unique_ptr<CusparseLt> cusparselt_;
  std::unique_ptr<CublasLt> cublaslt_;
  std::unique_ptr<PlanCache> sparse_;
  std::unique_ptr<DenseCache> dense_;
};

// A device with buckets for products of up to `limit` rows and the plans of a file, whose buckets
// come first. Throws Error as Device and read_plan_file() do. A file made elsewhere is not used:
// `warning` says so then.
std::shared_ptr<Device> open_with_plans(const DeviceLibraries& libraries, int ordinal,
                                        int64_t limit, const std::filesystem::path& plans,
                                        std::string& warning);

// As kF16, kBF16 or kF32.
std::vector<std::byte> round_to(DType type, std::span<const float> values);

// What `bytes` of the host become on the current device. Waits for the stream.
DeviceBuffer copy_to_device(Runtime& runtime, const void* bytes, size_t count, StreamHandle stream,
                            std::string_view what);

// The same of numbers as `type`.
DeviceBuffer upload_as(Device& device, std::span<const float> values, DType type,
                       StreamHandle stream, std::string_view what);

}  // namespace twofour::cuda
