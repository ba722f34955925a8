#include "twofour/backend/cuda/device_kernel.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

bool is_type(DType type) {
  return type == DType::kF16 || type == DType::kBF16 || type == DType::kI8;
}

std::optional<std::string> rejects_desc(const DeviceLinearDesc& desc) {
  if (!is_type(desc.input) || !is_type(desc.output)) {
    return fmt::format("{} to {} is no layer of the device, expected F16, BF16 or I8",
                       dtype_name(desc.input), dtype_name(desc.output));
  }
  if (desc.n <= 0 || desc.n % kEpilogueWidth != 0)
    return fmt::format("n is {}, expected a multiple of {}", desc.n, kEpilogueWidth);
  return std::nullopt;
}

std::string_view kernel_of(const PlanChoice& choice) {
  switch (choice.use) {
    case PlanUse::kSparse:
      return spmm24_cusparselt_kernel().name();
    case PlanUse::kOwn:
      return spmm24_mma_kernel().name();
    case PlanUse::kCutlass:
      return spmm24_cutlass_kernel(kSpmm24CutlassVariants[choice.variant].form).name();
    default:
      return matmul_cublaslt_kernel().name();
  }
}

}  // namespace

std::string DeviceLinearDesc::to_string() const {
  return fmt::format("{} [{}, {}] -> {}", dtype_name(input), n, k, dtype_name(output));
}

ProductDesc DeviceLinearDesc::product() const {
  return {n, k, input, input == DType::kI8 ? DType::kI32 : input, std::nullopt, nullptr, false};
}

std::optional<std::string> DeviceKernel::supports(const DeviceContext& context,
                                                  const DeviceLinearDesc& desc, int64_t m) const {
  if (auto reason = rejects_desc(desc)) return reason;
  if (sparse() && !desc.sparse) return "the weight is not 2:4-sparse";
  return rejects(context, desc, m);
}

std::span<const DeviceKernel* const> device_kernel_list() {
  static const std::array<const DeviceKernel*, 6> list = {
      &spmm24_cusparselt_kernel(),
      &spmm24_mma_kernel(),
      &spmm24_cutlass_kernel(CutlassForm::kSm90),
      &spmm24_cutlass_kernel(CutlassForm::kSm80),
      &matmul_cublaslt_kernel(),
      &device_reference_kernel()};
  return list;
}

const DeviceKernel& device_kernel(std::string_view name) {
  std::vector<std::string_view> names;
  for (const DeviceKernel* kernel : device_kernel_list()) {
    if (kernel->name() == name) return *kernel;
    names.push_back(kernel->name());
  }
  throw Error("device_kernel", fmt::format("no kernel is named '{}'", name),
              fmt::format("There are: {}", fmt::join(names, ", ")));
}

const DeviceKernel& select_device_kernel(const DeviceContext& context, const DeviceLinearDesc& desc,
                                         int64_t m, const PlanChoice* choice) {
  if (choice != nullptr) {
    const DeviceKernel& chosen = device_kernel(kernel_of(*choice));
    if (!chosen.supports(context, desc, m)) return chosen;
  }
  std::string reasons;
  for (const DeviceKernel* kernel : device_kernel_list()) {
    const auto reason = kernel->supports(context, desc, m);
    if (!reason) return *kernel;
    reasons += fmt::format("; {}: {}", kernel->name(), *reason);
  }
  throw Error("select_device_kernel",
              fmt::format("no kernel computes {} with {} rows{}", desc.to_string(), m, reasons));
}

}  // namespace twofour::cuda
