// Plans of cuSPARSELt, made once for each bucket of rows and kept.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "twofour/backend/cuda/buckets.h"
#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/plan_file.h"
#include "twofour/backend/cuda/product.h"
#include "twofour/backend/cuda/recent_plans.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

// Whether the library can be asked for it there: with a split-k of -1 it hangs on any device but
// Hopper.
bool is_safe(const Algorithm& algorithm, const DeviceProperties& device);

// One product of `bucket` rows, ready to run on the device and in the thread of its handle.
class MatmulPlan {
 public:
  // With `algorithm`, where given and accepted by the library, else with the library's default.
  // Throws Error where the library makes no plan.
  MatmulPlan(CusparseLt& library, std::shared_ptr<Owned<Handle>> handle, const ProductDesc& product,
             int64_t bucket, const Algorithm* algorithm);

  const ProductDesc& product() const { return product_; }
  int64_t bucket() const { return bucket_; }
  size_t workspace_bytes() const { return workspace_bytes_; }
  // Whether the library turned `algorithm` down and its default stands in.
  bool algorithm_refused() const { return algorithm_refused_; }
  int algorithm_count() const;  // of the library for this product: ids from 0 on
  // Into how many parts the library splits k, which may be its own choice; 0 where it does not say.
  int split_k() const;

  // Enqueues the product: pointers as MatmulPointers says.
  void run(const MatmulPointers& pointers, StreamHandle stream) const;

 private:
  void choose(const Algorithm* algorithm);
  bool try_algorithm(const Algorithm& algorithm);
  void make_selection();
  void make_plan();

  // Each is destroyed before those above it, which it points to.
  CusparseLt& library_;
  std::shared_ptr<Owned<Handle>> handle_;
  ProductDesc product_;
  int64_t bucket_ = 0;
  Owned<MatrixDescriptor> weight_, input_, output_;
  MatmulDescriptor matmul_{};
  std::unique_ptr<Owned<AlgSelection>> selection_;
  std::unique_ptr<Owned<Plan>> plan_;
  size_t workspace_bytes_ = 0;
  bool algorithm_refused_ = false;
};

struct PlanCacheOptions {
  Buckets buckets = Buckets::every_16(1024);
  // For each thread and device. The least recently used that nobody holds goes first.
  size_t max_plans = 512;
  PlanTable table;  // algorithms found by a search, e.g. of a plan file
};

// Thread-safe: each thread has a handle and plans of its own for each device, made when first asked
// for, so that threads never wait for each other's plans. They go with the thread or with the
// cache, whichever ends first.
class PlanCache {
 public:
  // `library` and `runtime` must outlive the cache and all plans. Throws Error unless max_plans >
  // 0.
  PlanCache(CusparseLt& library, Runtime& runtime, PlanCacheOptions options);
  ~PlanCache();

  const Buckets& buckets() const { return options_.buckets; }
  CusparseLt& cusparselt() const { return library_; }
  Runtime& runtime() const { return runtime_; }

  // The plan for the bucket that holds m rows, made now if need be. It is the calling thread's, and
  // stays in the cache for as long as the pointer is held. Throws Error where rejects()
  // gives a reason, m is out of the buckets' range or the library fails.
  std::shared_ptr<const MatmulPlan> plan(const ProductDesc& product, int64_t m, int device);

  // From now on max_plans is at least this.
  void reserve(size_t plans);

  // Ahead of time: every bucket up to the one that holds max_m rows.
  void prepare(const ProductDesc& product, int64_t max_m, int device);

  // The calling thread's handle for `device`.
  const Handle& handle(int device);

  // Plans that the calling thread holds for `device`.
  size_t size(int device);

 private:
  struct Key {
    ProductDesc product;
    int64_t bucket = 0;
    auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr)
  };

  // Of one thread and one device; touched by that thread alone.
  struct ThreadPlans {
    std::shared_ptr<Owned<Handle>> handle;
    DeviceProperties properties;
    RecentPlans<Key, MatmulPlan> recent;
  };

  struct Threads {
    std::mutex mutex;  // of the map, not of what it holds
    std::map<std::pair<std::thread::id, int>, std::unique_ptr<ThreadPlans>> plans;
  };
  class ThreadEnd;

  ThreadPlans& of_this_thread(int device);
  std::unique_ptr<ThreadPlans> make_thread_plans(int device);
  std::shared_ptr<const MatmulPlan> make(ThreadPlans& plans, const Key& key, int device);

  CusparseLt& library_;
  Runtime& runtime_;
  PlanCacheOptions options_;
  std::atomic<size_t> max_plans_;
  std::shared_ptr<Threads> threads_ = std::make_shared<Threads>();
};

}  // namespace twofour::cuda
