#include "twofour/tensorrt/spmm_resources.h"

#include "twofour/backend/cuda/epilogue_launch.h"

namespace twofour::tensorrt {
namespace {

// Every layer has a bias of its own, to which its plans are bound: 72 layers with plans for a
// hundred different m each.
constexpr size_t kMaxPlans = 8192;

cuda::Buckets buckets(int64_t max_m, int64_t step) {
  if (step == cuda::kRowMultiple) return cuda::Buckets::every_16(max_m);
  std::vector<int64_t> rows;
  for (int64_t m = step; m < max_m + step; m += step) rows.push_back(m);
  return cuda::Buckets::of(std::move(rows));
}

}  // namespace

SpmmResources::SpmmResources(cuda::CusparseLt& library, cuda::Runtime& runtime,
                             EpilogueFunction epilogue)
    : library_(library), runtime_(runtime), epilogue_(std::move(epilogue)) {}

int SpmmResources::device() const {
  int device = 0;
  cuda::check(runtime_, runtime_.current_device(device), "cudaGetDevice");
  return device;
}

cuda::PlanCache& SpmmResources::plans(int64_t max_m, int64_t step) {
  const std::lock_guard lock(mutex_);
  auto& cache = caches_[{max_m, step}];
  if (cache == nullptr) {
    cache = std::make_unique<cuda::PlanCache>(
        library_, runtime_, cuda::PlanCacheOptions{buckets(max_m, step), kMaxPlans, {}});
  }
  return *cache;
}

// Never destroyed: engines of static lifetime may still end when the process does, after the CUDA
// runtime has gone.
SpmmResources& resources_of_process() {
  static auto& library = *cuda::open_cusparselt().release();
  static auto& resources = *new SpmmResources(library, cuda::runtime(), cuda::run_epilogue);
  return resources;
}

}  // namespace twofour::tensorrt
