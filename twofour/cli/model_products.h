// The matrix products of a model's layers, as an engine on a device multiplies them.
#pragma once

#include <vector>

#include "twofour/backend/cuda/product.h"
#include "twofour/io/model_directory.h"

namespace twofour::cli {

struct ModelProduct {
  // Results are of the other values' type, but int8 sums where cuSPARSELt does not scale them:
  // weights that are not 2:4, an activation that follows, a result that is quantized.
  cuda::ProductDesc product;
  int count = 0;        // layers, or stacks of query, key and value, of this form
  bool sparse = false;  // their weights are 2:4
};

// Of all prunable layers, in the order of the network. `float_type`, F16, BF16 or
// F8_E4M3, is what float weights are multiplied in; it, or F16 beside F8_E4M3, is the type of other
// values. `as_if_sparse`: as if
// every layer were 2:4.
std::vector<ModelProduct> model_products(const ModelDirectory& model, DType float_type,
                                         bool as_if_sparse);

}  // namespace twofour::cli
