#include "twofour/train/training_device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <cstdlib>

#include "twofour/backend/cuda/device.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/train/api.h"

namespace twofour {
namespace {

constexpr const char* kDriver = "NVIDIA driver";
constexpr const char* kOrCpu = "train with --device cpu.";

std::filesystem::path libtorch_folder() {
  Dl_info found{};
  dladdr(reinterpret_cast<const void*>(&at::detail::getCUDAHooks), &found);
  return std::filesystem::path(found.dli_fname != nullptr ? found.dli_fname : "").parent_path();
}

// By the names and numbers of the driver's header, which stay. LibTorch itself tells neither name
// nor compute capability to those who have no CUDA headers.
std::vector<CudaDevice> devices_of_driver() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) {
    throw Error(kDriver, fmt::format("is not there: {}", dlerror()),
                fmt::format("Install it, or {}", kOrCpu));
  }
  const auto call = [&](const char* name, auto... arguments) {
    const auto function = reinterpret_cast<int (*)(decltype(arguments)...)>(dlsym(driver, name));
    const int status = function != nullptr ? function(arguments...) : -1;
    if (status == 0) return;
    throw Error(kDriver, fmt::format("finds no GPU: {} returned {}", name, status),
                fmt::format("See what nvidia-smi says, or {}", kOrCpu));
  };
  constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
  call("cuInit", 0U);
  int count = 0;
  call("cuDeviceGetCount", &count);
  std::vector<CudaDevice> devices(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    int handle = 0;
    char name[256] = {};
    call("cuDeviceGet", &handle, i);
    call("cuDeviceGetName", name, static_cast<int>(sizeof name), handle);
    call("cuDeviceGetAttribute", &devices[i].major, kMajor, handle);
    call("cuDeviceGetAttribute", &devices[i].minor, kMinor, handle);
    devices[i].name = name;
  }
  return devices;
}

// What LibTorch says instead of printing it.
class LastWarning : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override { text_ = warning.msg(); }
  std::string after_colon() const { return text_.empty() ? "" : ": " + text_; }

 private:
  std::string text_;
};

void check_libtorch() {
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  if (!hooks.hasCUDART()) {
    throw Error("LibTorch", "has looked for GPUs in this process before its library was opened",
                "Train on a GPU in a process of its own.");
  }
  LastWarning warning;
  const c10::WarningUtils::WarningHandlerGuard guard(&warning);
  if (hooks.deviceCount() > 0) return;
  throw Error("LibTorch", "finds no GPU" + warning.after_colon(),
              "Update the driver, or build with a LibTorch for an older CUDA.");
}

std::string full_name(std::string_view name, bool several, const Environment& environment) {
  if (name != "cuda") return std::string(name);
  if (!several) return "cuda:0";
  const char* rank = environment("LOCAL_RANK");
  if (rank == nullptr || *rank == '\0') {
    throw Error("LOCAL_RANK", "is not set: it chooses the GPU of each of several processes",
                "Set it as torchrun does, or name the GPU: --device cuda:0.");
  }
  return fmt::format("cuda:{}", rank);
}

void open_libtorch_cuda(const std::filesystem::path& library) {
  // cuBLAS reads it when it is first used; without it, LibTorch refuses products that must be
  // deterministic.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  throw Error(library.string(), fmt::format("cannot be loaded: {}", dlerror()),
              fmt::format("What it needs comes with 'pip install torch=={}' in the environment of "
                          "this LibTorch; or {}",
                          TORCH_VERSION, kOrCpu));
}

}  // namespace

CudaSystem cuda_system() { return {libtorch_folder(), devices_of_driver, check_libtorch}; }

TrainingDevice open_training_device(std::string_view name, bool several,
                                    const Environment& environment, const CudaSystem& system) {
  if (name == "cpu") return {.bf16 = cpu_features().avx512_bf16 || cpu_features().amx_bf16};
  const std::string full = full_name(name, several, environment);
  const int ordinal = cuda::device_ordinal(full, "--device", kTrainingDevices);
  const std::filesystem::path library = system.libraries / "libtorch_cuda.so";
  if (!std::filesystem::exists(library)) {
    throw Error(library.string(), "is not there: this LibTorch is for CPUs alone",
                fmt::format("Build twofour with one for CUDA, as PyPI has it, or {}", kOrCpu));
  }
  const std::vector<CudaDevice> devices = system.devices();
  if (ordinal >= std::ssize(devices)) {
    throw Error("--device " + full, fmt::format("is not there: GPUs here: {}", devices.size()),
                "They are numbered from cuda:0 on; CUDA_VISIBLE_DEVICES may hide some.");
  }
  open_libtorch_cuda(library);
  system.check();
  const CudaDevice& device = devices[ordinal];
  return {at::Device(at::kCUDA, static_cast<at::DeviceIndex>(ordinal)), device.name,
          device.major >= 8};
}

std::string describe_cuda(const CudaSystem& system) {
  try {
    open_training_device("cuda:0", /*several=*/false, std::getenv, system);
    std::string text;
    int ordinal = 0;
    for (const CudaDevice& device : system.devices()) {
      text += fmt::format("{}cuda:{} {} ({}.{})", ordinal > 0 ? ", " : "", ordinal, device.name,
                          device.major, device.minor);
      ++ordinal;
    }
    return text;
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace twofour
