// The matrix products of a model's layers, as an engine on a device multiplies them.
#pragma once

#include <vector>

#include "twofour/backend/cuda/product.h"
#include "twofour/io/model_directory.h"

namespace twofour::cli {

struct ModelProduct {
  cuda::ProductDesc product;  // of the library: int8 sums, or `float_type`
  int count = 0;              // layers, or stacks of query, key and value, of this form
  bool sparse = false;        // their weights are 2:4
};

// Of all prunable layers, in the order of the network. `float_type`, F16 or BF16, is what float
// weights are multiplied in. `as_if_sparse`: as if every layer were 2:4.
std::vector<ModelProduct> model_products(const ModelDirectory& model, DType float_type,
                                         bool as_if_sparse);

}  // namespace twofour::cli
