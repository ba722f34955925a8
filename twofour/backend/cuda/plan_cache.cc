#include "twofour/backend/cuda/plan_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr std::string_view kInitDense = "cusparseLtDenseDescriptorInit";
constexpr int kHopper = 90;

}  // namespace

bool is_safe(const Algorithm& algorithm, const DeviceProperties& device) {
  return algorithm.split_k >= 1 || device.capability() == kHopper;
}

MatmulPlan::MatmulPlan(CusparseLt& library, std::shared_ptr<Owned<Handle>> handle,
                       const ProductDesc& product, int64_t bucket, const Algorithm* algorithm)
    : library_(library),
      handle_(std::move(handle)),
      product_(product),
      bucket_(bucket),
      weight_(library, "cusparseLtStructuredDescriptorInit",
              [&](MatrixDescriptor& matrix) {
                return library.init_structured(handle_->get(), matrix, weight_layout(product));
              }),
      input_(library, kInitDense,
             [&](MatrixDescriptor& matrix) {
               return library.init_dense(handle_->get(), matrix, input_layout(product, bucket));
             }),
      output_(library, kInitDense, [&](MatrixDescriptor& matrix) {
        return library.init_dense(handle_->get(), matrix, output_layout(product, bucket));
      }) {
  const Handle& lt = handle_->get();
  const MatmulOperands operands{&weight_.get(), &input_.get(), &output_.get(),
                                &output_.get(), true,          product.sum()};
  check(library, library.init_matmul(lt, matmul_, operands), "cusparseLtMatmulDescriptorInit");
  if (product.bias != nullptr)
    check(library, library.set_bias(lt, matmul_, product.bias), "setting the bias");
  if (product.activation) {
    check(library, library.set_activation(lt, matmul_, *product.activation),
          "setting the activation");
  }
  if (product.channel_scales)
    check(library, library.set_channel_scales(lt, matmul_), "setting scales by channel");
  choose(algorithm);
  check(library, library.workspace_bytes(lt, plan_->get(), workspace_bytes_),
        "cusparseLtMatmulGetWorkspace");
}

void MatmulPlan::choose(const Algorithm* algorithm) {
  make_selection();
  if (algorithm != nullptr) {
    if (try_algorithm(*algorithm)) return;
    algorithm_refused_ = true;
    make_selection();
  }
  make_plan();
}

void MatmulPlan::make_selection() {
  selection_.reset();
  selection_ = std::make_unique<Owned<AlgSelection>>(
      library_, "cusparseLtMatmulAlgSelectionInit", [&](AlgSelection& selection) {
        return library_.init_selection(handle_->get(), selection, matmul_);
      });
}

void MatmulPlan::make_plan() {
  plan_ = std::make_unique<Owned<Plan>>(library_, "cusparseLtMatmulPlanInit", [&](Plan& plan) {
    return library_.init_plan(handle_->get(), plan, matmul_, selection_->get());
  });
}

// A saved algorithm may be one that the library does not take any more: no error.
bool MatmulPlan::try_algorithm(const Algorithm& algorithm) {
  if (library_.set_algorithm(handle_->get(), selection_->get(), algorithm) !=
      SparseStatus::kSuccess) {
    return false;
  }
  try {
    make_plan();
  } catch (const Error&) {
    return false;
  }
  return true;
}

int MatmulPlan::algorithm_count() const {
  int count = 0;
  check(library_, library_.algorithm_count(handle_->get(), selection_->get(), count),
        "cusparseLtMatmulAlgGetAttribute");
  return count;
}

int MatmulPlan::split_k() const {
  Algorithm taken;
  const SparseStatus status = library_.get_algorithm(handle_->get(), selection_->get(), taken);
  return status == SparseStatus::kSuccess ? taken.split_k : 0;
}

void MatmulPlan::run(const MatmulPointers& pointers, StreamHandle stream) const {
  check(library_, library_.matmul(handle_->get(), plan_->get(), pointers, stream),
        "cusparseLtMatmul");
}

// Drops what a thread has in caches when it ends: no other thread may use it, and a later thread
// may have the same id. In the cache's lock, so that a cache that ends meanwhile waits, and what
// its objects need is still there.
class PlanCache::ThreadEnd {
 public:
  static void watch(const std::shared_ptr<Threads>& threads) {
    thread_local ThreadEnd end;
    std::erase_if(end.caches_, [](const auto& cache) { return cache.expired(); });
    end.caches_.insert(threads);
  }

 private:
  ~ThreadEnd() {
    for (const std::weak_ptr<Threads>& cache : caches_) {
      const auto threads = cache.lock();
      if (threads == nullptr) continue;
      const std::lock_guard lock(threads->mutex);
      std::erase_if(threads->plans,
                    [&](const auto& entry) { return entry.first.first == thread_; });
    }
  }

  const std::thread::id thread_ = std::this_thread::get_id();
  std::set<std::weak_ptr<Threads>, std::owner_less<>> caches_;
};

PlanCache::PlanCache(CusparseLt& library, Runtime& runtime, PlanCacheOptions options)
    : library_(library),
      runtime_(runtime),
      options_(std::move(options)),
      max_plans_(options_.max_plans) {
  if (options_.max_plans == 0) throw Error("PlanCache", "max_plans is 0, expected 1 or more");
}

PlanCache::~PlanCache() {
  const std::lock_guard lock(threads_->mutex);
  threads_->plans.clear();
}

std::shared_ptr<const MatmulPlan> PlanCache::plan(const ProductDesc& product, int64_t m,
                                                  int device) {
  const Key key{product, options_.buckets.rows(options_.buckets.index_for(m))};
  ThreadPlans& plans = of_this_thread(device);
  if (auto found = plans.recent.find(key)) return found;
  auto made = make(plans, key, device);
  plans.recent.insert(key, made, max_plans_);
  return made;
}

void PlanCache::reserve(size_t plans) {
  const std::lock_guard lock(threads_->mutex);
  max_plans_ = std::max<size_t>(max_plans_, plans);
}

void PlanCache::prepare(const ProductDesc& product, int64_t max_m, int device) {
  const size_t last = options_.buckets.index_for(max_m);
  for (size_t i = 0; i <= last; ++i) plan(product, options_.buckets.rows(i), device);
}

const Handle& PlanCache::handle(int device) { return of_this_thread(device).handle->get(); }

size_t PlanCache::size(int device) { return of_this_thread(device).recent.size(); }

PlanCache::ThreadPlans& PlanCache::of_this_thread(int device) {
  const std::pair key(std::this_thread::get_id(), device);
  {
    const std::lock_guard lock(threads_->mutex);
    const auto found = threads_->plans.find(key);
    if (found != threads_->plans.end()) return *found->second;
  }
  auto made = make_thread_plans(device);
  ThreadEnd::watch(threads_);
  const std::lock_guard lock(threads_->mutex);
  return *threads_->plans.emplace(key, std::move(made)).first->second;
}

std::unique_ptr<PlanCache::ThreadPlans> PlanCache::make_thread_plans(int device) {
  const DeviceGuard guard(runtime_, device);
  auto plans = std::make_unique<ThreadPlans>();
  check(runtime_, runtime_.properties(device, plans->properties), "cudaGetDeviceProperties");
  plans->handle = std::make_shared<Owned<Handle>>(
      library_, "cusparseLtInit", [&](Handle& handle) { return library_.init(handle); });
  return plans;
}

std::shared_ptr<const MatmulPlan> PlanCache::make(ThreadPlans& plans, const Key& key, int device) {
  if (const auto reason = rejects(key.product, plans.properties)) {
    throw Error("PlanCache", fmt::format("{}: {}", key.product.to_string(), *reason),
                "Run this layer dense");
  }
  const DeviceGuard guard(runtime_, device);
  const PlanChoice* choice = options_.table.find(key.product, key.bucket);
  const bool searched = choice != nullptr && choice->use == PlanUse::kSparse &&
                        is_safe(choice->algorithm, plans.properties);
  return std::make_shared<MatmulPlan>(library_, plans.handle, key.product, key.bucket,
                                      searched ? &choice->algorithm : nullptr);
}

}  // namespace twofour::cuda
