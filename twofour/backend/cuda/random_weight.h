// Random matrices of a device product, for measuring it: 2:4 where asked for, the same on every
// machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "twofour/base/dtype.h"

namespace twofour::cuda {

// [rows, k] of F16, BF16, F8_E4M3, I8 or F32. `sparse`: two of four along k are zero, in each of
// the six ways equally often. Floats are multiples of 1/8 up to 2, which all types hold exactly.
std::vector<std::byte> random_matrix(DType type, int64_t rows, int64_t k, bool sparse,
                                     uint32_t seed);

}  // namespace twofour::cuda
