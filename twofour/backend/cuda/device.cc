#include "twofour/backend/cuda/device.h"

#include <fmt/format.h>

#include <charconv>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr std::string_view kUseCpu = "or run on the device cpu";

// Driver and number of devices.
int count_devices(Runtime& runtime, const std::string& name) {
  int driver = 0, built_for = 0, count = 0;
  if (runtime.driver_version(driver) != Status::kSuccess || driver == 0)
    throw Error(name, "no NVIDIA driver is installed", fmt::format("Install one, {}", kUseCpu));
  runtime.runtime_version(built_for);
  const Status status = runtime.device_count(count);
  if (status == Status::kInsufficientDriver) {
    throw Error(name,
                fmt::format("the driver serves CUDA {}, this build needs {}",
                            cuda_version_text(driver), cuda_version_text(built_for)),
                fmt::format("Install a newer driver, {}", kUseCpu));
  }
  if (status == Status::kNoDevice) return 0;
  check(runtime, status, "cudaGetDeviceCount");
  return count;
}

DeviceProperties find_device(Runtime& runtime, int ordinal, const std::string& name) {
  const int count = count_devices(runtime, name);
  if (ordinal >= count) {
    throw Error(name,
                count == 0 ? "no NVIDIA GPU was found"
                           : fmt::format("there is no such device, the last is cuda:{}", count - 1),
                fmt::format("See `twofour doctor`, {}", kUseCpu));
  }
  DeviceProperties found;
  check(runtime, runtime.properties(ordinal, found), "cudaGetDeviceProperties");
  if (found.capability() < 80) {
    throw Error(name,
                fmt::format("{} has compute capability {}.{}, expected 8.0 or later", found.name,
                            found.major, found.minor),
                fmt::format("Use a GPU of the Ampere generation or later, {}", kUseCpu));
  }
  return found;
}

}  // namespace

int device_ordinal(std::string_view name) {
  if (name == "cuda") return 0;
  int ordinal = -1;
  if (name.starts_with("cuda:")) {
    const std::string_view digits = name.substr(5);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), ordinal);
    if (error == std::errc() && end == digits.data() + digits.size() && ordinal >= 0)
      return ordinal;
  }
  throw Error("device", fmt::format("no device is named '{}'", name),
              "There are: cpu, cuda, cuda:0, cuda:1, ...");
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

Device::Device(DeviceLibraries libraries, int ordinal, const Buckets& buckets)
    : libraries_(std::move(libraries)), ordinal_(ordinal), buckets_(buckets) {
  properties_ = find_device(runtime(), ordinal, name());
}

PlanCache& Device::sparse() {
  const std::lock_guard lock(mutex_);
  if (sparse_ == nullptr) {
    if (cusparselt_ == nullptr) cusparselt_ = libraries_.open_cusparselt();
    sparse_ = std::make_unique<PlanCache>(*cusparselt_, runtime(),
                                          PlanCacheOptions{.buckets = buckets_, .table = {}});
  }
  return *sparse_;
}

DenseCache& Device::dense() {
  const std::lock_guard lock(mutex_);
  if (dense_ == nullptr) {
    if (cublaslt_ == nullptr) cublaslt_ = libraries_.open_cublaslt();
    dense_ = std::make_unique<DenseCache>(*cublaslt_, runtime(), DenseOptions{});
  }
  return *dense_;
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
