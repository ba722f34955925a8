// Plain scalar kernels for every case: what the fast ones are checked against, and what runs where
// none of them can.
#pragma once

#include <vector>

#include "twofour/backend/matmul.h"

namespace twofour {

std::vector<const Kernel*> reference_kernels();

}  // namespace twofour
