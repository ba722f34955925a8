#include "twofour/backend/backends.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/reference/reference_kernels.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/base/setting.h"

namespace twofour {
namespace {

std::vector<const Kernel*> make_list() {
  std::vector<const Kernel*> list = cpu_kernels();
  for (const Kernel* kernel : reference_kernels()) list.push_back(kernel);
  return list;
}

[[noreturn]] void throw_unknown(std::string_view where, std::string_view name) {
  std::vector<std::string_view> names;
  for (const Kernel* kernel : kernel_list()) names.push_back(kernel->name());
  throw Error(where, fmt::format("no kernel is named '{}'", name),
              fmt::format("There are: {}", fmt::join(names, ", ")));
}

}  // namespace

std::span<const Kernel* const> kernel_list() {
  static const std::vector<const Kernel*> list = make_list();
  return list;
}

std::vector<KernelInfo> describe_kernels() {
  std::vector<KernelInfo> out;
  for (const Kernel* kernel : kernel_list()) {
    out.push_back({std::string(kernel->name()), std::string(matmul_type_name(kernel->type())),
                   kernel->sparse(), kernel->unavailable().value_or("")});
  }
  return out;
}

const Kernel* forced_kernel(std::string_view name) {
  const Setting setting = option_or_variable("force_kernel", name, "TWOFOUR_FORCE_KERNEL");
  if (setting.value.empty()) return nullptr;
  for (const Kernel* kernel : kernel_list()) {
    if (kernel->name() != setting.value) continue;
    if (auto reason = kernel->unavailable()) {
      throw Error(setting.where,
                  fmt::format("kernel '{}' cannot run on this machine: {}", setting.value, *reason),
                  "twofour doctor says which can");
    }
    return kernel;
  }
  throw_unknown(setting.where, setting.value);
}

MatmulType float_precision(std::string_view name) {
  const Setting setting = option_or_variable("precision", name, "TWOFOUR_PRECISION");
  if (setting.value.empty() || setting.value == "f32") return MatmulType::kF32;
  if (setting.value != "bf16") {
    throw Error(setting.where, fmt::format("no precision is named '{}'", setting.value),
                "On a CPU there are: f32, bf16");
  }
  if (!cpu_features().avx512_bf16)
    throw Error(setting.where, "bf16 needs AVX-512 BF16, which this machine lacks", "Use f32");
  return MatmulType::kBf16;
}

const Kernel& select_kernel(const MatmulDesc& desc, const Kernel* forced) {
  if (forced != nullptr && !forced->supports(desc)) return *forced;
  std::string reasons;
  for (const Kernel* kernel : kernel_list()) {
    const auto reason = kernel->supports(desc);
    if (!reason) return *kernel;
    reasons += fmt::format("; {}: {}", kernel->name(), *reason);
  }
  throw Error("select_kernel", fmt::format("no kernel computes {} [{}, {}]{}",
                                           matmul_type_name(desc.type), desc.n, desc.k, reasons));
}

}  // namespace twofour
