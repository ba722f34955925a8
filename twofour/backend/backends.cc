#include "twofour/backend/backends.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "twofour/backend/cpu/cpu_kernels.h"
#include "twofour/backend/reference/reference_kernels.h"
#include "twofour/base/error.h"

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
  std::string_view where = "force_kernel";
  if (name.empty()) {
    const char* variable = std::getenv("TWOFOUR_FORCE_KERNEL");
    if (variable == nullptr || *variable == '\0') return nullptr;
    name = variable;
    where = "TWOFOUR_FORCE_KERNEL";
  }
  for (const Kernel* kernel : kernel_list()) {
    if (kernel->name() != name) continue;
    if (auto reason = kernel->unavailable()) {
      throw Error(where, fmt::format("kernel '{}' cannot run on this machine: {}", name, *reason));
    }
    return kernel;
  }
  throw_unknown(where, name);
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
