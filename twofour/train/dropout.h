// Dropout whose random numbers are made on the fly, in the backward pass again.
//
// LibTorch draws them one by one from a Mersenne twister and stores them: 12 % of a MiniLM-L6 step.
// Here a call takes one number from LibTorch's default CPU generator and each block of elements
// derives its own streams from it: the result does not depend on the number of threads, and
// resuming needs the generator's state only. On a GPU the same seeds give other numbers.
#pragma once

#include <ATen/ATen.h>

namespace twofour {

// f32 or bf16; zero with probability p in [0, 1), else x / (1 - p).
at::Tensor apply_dropout(const at::Tensor& x, double p);

}  // namespace twofour
