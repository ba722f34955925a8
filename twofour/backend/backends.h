// Every kernel of every back end, best first, and the choice among them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/matmul.h"

namespace twofour {

// Best first; the plain reference ones stand last.
std::span<const Kernel* const> kernel_list();

// For `twofour doctor`: what there is and what this machine runs.
struct KernelInfo {
  std::string name;
  std::string type;  // "f32", "bf16", "int8"
  bool sparse = false;
  std::string unavailable;  // why this machine cannot run it; empty: it can
};
std::vector<KernelInfo> describe_kernels();

// `name`, or the value of TWOFOUR_FORCE_KERNEL when `name` is empty; null when neither is set.
// Throws Error if there is no such kernel or this machine cannot run it.
const Kernel* forced_kernel(std::string_view name);

// Of products whose weights are float: "f32", or "bf16" where the machine has AVX-512 BF16. The
// value of TWOFOUR_PRECISION when `name` is empty, f32 when that is too. Throws Error for another
// name, or where this machine has no instructions for it.
MatmulType float_precision(std::string_view name);

// `forced` where it can compute `desc`, otherwise the first in the list that can.
const Kernel& select_kernel(const MatmulDesc& desc, const Kernel* forced = nullptr);

}  // namespace twofour
