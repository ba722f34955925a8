// What pruning tools leave beside the weights that they made sparse. Private to io/.
//
// clang-format off
//   X.__weight_mma_mask, X.__weight_mma_pruned_p   apex ASP: mask, and the values that were there
//   X._weight_mask                                 ModelOpt, until its export removes it
//   X.weight_mask                                  torch.nn.utils.prune, with X.weight_orig for X.weight
// clang-format on
#pragma once

#include <string>
#include <string_view>

#include "twofour/io/safetensors.h"

namespace twofour {

// True for the names above: no network reads them.
bool is_left_by_pruning(std::string_view name);

// Throws Error if a mask does not fit its weight, if the weight is not zero where the mask says so
// (some tools mask only while they run), or if a weight is stored only as an original and a mask.
void check_weight_masks(const Safetensors& tensors, const std::string& origin);

}  // namespace twofour
