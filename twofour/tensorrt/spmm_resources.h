// What the plug-ins of a process share: cuSPARSELt, the CUDA runtime and one plan cache for each
// table of buckets.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/plan_cache.h"

namespace twofour::tensorrt {

// run_epilogue() of backend/cuda, or a stand-in.
using EpilogueFunction =
    std::function<void(DType input, DType output, std::optional<ActivationKind> activation,
                       const cuda::EpilogueArgs& args, cuda::StreamHandle stream)>;

class SpmmResources {
 public:
  // `library` and `runtime` must outlive the resources.
  SpmmResources(cuda::CusparseLt& library, cuda::Runtime& runtime, EpilogueFunction epilogue);

  cuda::Runtime& runtime() const { return runtime_; }
  const EpilogueFunction& epilogue() const { return epilogue_; }

  // The current device of the calling thread.
  int device() const;

  // Plans for step, 2 step, ... up to max_m rounded up. Thread-safe; the cache lives as long as
  // this.
  cuda::PlanCache& plans(int64_t max_m, int64_t step);

 private:
  cuda::CusparseLt& library_;
  cuda::Runtime& runtime_;
  EpilogueFunction epilogue_;
  std::mutex mutex_;
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<cuda::PlanCache>> caches_;
};

// Asked for when a GPU is first needed: an engine can be parsed and serialized without cuSPARSELt.
using ResourcesSource = std::function<SpmmResources&()>;

// Opens cuSPARSELt at the first call. Throws Error as open_cusparselt() does, then and at each
// later call until it succeeds.
SpmmResources& resources_of_process();

}  // namespace twofour::tensorrt
