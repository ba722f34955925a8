#include "twofour/backend/cuda/device.h"

#include <fmt/format.h>

#include <charconv>
#include <set>

#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/backend/cuda/open_device.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

// What may stand in place of a wrong name.
const char* known_devices() {
  return diagnose().built ? "There are: cpu, cuda, cuda:0, cuda:1, ..."
                          : "There is: cpu. NVIDIA GPUs need a build of the preset cuda";
}

}  // namespace

int device_ordinal(std::string_view name, std::string_view where, std::string_view known) {
  if (name == "cuda") return 0;
  int ordinal = -1;
  if (name.starts_with("cuda:")) {
    const std::string_view digits = name.substr(5);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), ordinal);
    if (error == std::errc() && end == digits.data() + digits.size() && ordinal >= 0)
      return ordinal;
  }
  throw Error(where, fmt::format("no device is named '{}'", name),
              known.empty() ? known_devices() : known);
}

DeviceLibraries nvidia_libraries() {
  return {&cuda::runtime(), &encoder_kernels(), [] { return open_cusparselt(); },
          [] { return open_cublaslt(); }};
}

Buckets encoder_buckets(int64_t limit) {
  std::vector<int64_t> rows;
  int64_t step = kRowMultiple;
  for (int64_t m = step; rows.empty() || rows.back() < limit; m += step) {
    rows.push_back(m);
    if (m >= 8 * step) step *= 2;
  }
  return Buckets::of(std::move(rows));
}

Device::Device(DeviceLibraries libraries, int ordinal, const Buckets& buckets, size_t max_plans,
               PlanTable plans)
    : libraries_(std::move(libraries)),
      ordinal_(ordinal),
      buckets_(buckets),
      max_plans_(max_plans),
      plans_(std::move(plans)) {
  properties_ = require_device(runtime(), ordinal);
}

PlanCache& Device::sparse() {
  const std::lock_guard lock(mutex_);
  if (sparse_ == nullptr) {
    if (cusparselt_ == nullptr) cusparselt_ = libraries_.open_cusparselt();
    PlanCacheOptions options{.buckets = buckets_, .table = plans_};
    if (max_plans_ > 0) options.max_plans = max_plans_;
    sparse_ = std::make_unique<PlanCache>(*cusparselt_, runtime(), std::move(options));
  }
  return *sparse_;
}

DenseCache& Device::dense() {
  const std::lock_guard lock(mutex_);
  if (dense_ == nullptr) {
    if (cublaslt_ == nullptr) cublaslt_ = libraries_.open_cublaslt();
    DenseOptions options;
    options.table = plans_;
    if (max_plans_ > 0) options.max_plans = max_plans_;
    dense_ = std::make_unique<DenseCache>(*cublaslt_, runtime(), std::move(options));
  }
  return *dense_;
}

PlanCache& Device::add_sparse_layer() {
  PlanCache& cache = sparse();
  const size_t layers = ++sparse_layers_;
  if (max_plans_ == 0) cache.reserve(layers * buckets_.count());
  return cache;
}

DenseCache& Device::add_dense_layer() {
  DenseCache& cache = dense();
  const size_t layers = ++dense_layers_;
  if (max_plans_ == 0) cache.reserve(layers * buckets_.count());
  return cache;
}

namespace {

// Null where the library is not there: a plan file says so too.
template <class Library>
std::unique_ptr<Library> open_if_there(const std::function<std::unique_ptr<Library>()>& open) {
  try {
    return open();
  } catch (const Error&) {
    return nullptr;
  }
}

// Those of the file, or all that its plans are for, then what larger products need.
Buckets buckets_of(const PlanContents& plans, int64_t limit) {
  std::set<int64_t> rows(plans.buckets.begin(), plans.buckets.end());
  if (rows.empty()) {
    for (const auto& [key, choice] : plans.table.all()) rows.insert(key.bucket);
  }
  const int64_t planned = rows.empty() ? 0 : *rows.rbegin();
  const Buckets usual = encoder_buckets(limit);
  for (const int64_t m : usual.all()) {
    if (m > planned) rows.insert(m);
  }
  return Buckets::of({rows.begin(), rows.end()});
}

}  // namespace

std::shared_ptr<Device> open_with_plans(const DeviceLibraries& libraries, int ordinal,
                                        int64_t limit, const std::filesystem::path& plans,
                                        std::string& warning) {
  require_device(*libraries.runtime, ordinal);
  const auto sparse = open_if_there(libraries.open_cusparselt);
  const auto dense = open_if_there(libraries.open_cublaslt);
  PlanFile file = read_plan_file(
      plans, plan_environment(*libraries.runtime, sparse.get(), dense.get(), ordinal));
  warning = file.warning;
  return std::make_shared<Device>(libraries, ordinal, buckets_of(file, limit), /*max_plans=*/0,
                                  std::move(file.table));
}

std::vector<std::byte> round_to(DType type, std::span<const float> values) {
  std::vector<std::byte> out(values.size() * dtype_bytes(type));
  auto* halves = reinterpret_cast<uint16_t*>(out.data());
  auto* floats = reinterpret_cast<float*>(out.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == DType::kF16)
      halves[i] = f32_to_f16(values[i]);
    else if (type == DType::kBF16)
      halves[i] = f32_to_bf16(values[i]);
    else
      floats[i] = values[i];
  }
  return out;
}

DeviceBuffer copy_to_device(Runtime& runtime, const void* bytes, size_t count, StreamHandle stream,
                            std::string_view what) {
  DeviceBuffer buffer(runtime, count, what);
  if (count == 0) return buffer;
  check(runtime, runtime.copy(buffer.data(), bytes, count, stream), "cudaMemcpyAsync");
  check(runtime, runtime.synchronize(stream), "cudaStreamSynchronize");
  return buffer;
}

DeviceBuffer upload_as(Device& device, std::span<const float> values, DType type,
                       StreamHandle stream, std::string_view what) {
  const std::vector<std::byte> bytes = round_to(type, values);
  return copy_to_device(device.runtime(), bytes.data(), bytes.size(), stream, what);
}

}  // namespace twofour::cuda
