// From the rows of a sequence's tokens to one row.
#pragma once

#include <cstdint>

#include "twofour/io/model_directory.h"

namespace twofour {

// `rows` [count, width], count >= 1. Mean divides the sum.
void pool_rows(Pooling pooling, const float* rows, int64_t count, int64_t width, float* out);

// x / max(|x|, 1e-12), as in torch.nn.functional.normalize.
void normalize_row(const float* x, int64_t width, float* out);

}  // namespace twofour
