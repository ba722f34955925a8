// Parameters of linear layers as a matrix product wants them: of one layer, or of several that read
// the same value, their rows one below the other.
#pragma once

#include <span>
#include <vector>

#include "twofour/backend/matmul.h"
#include "twofour/base/tensor.h"
#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"

namespace twofour {

struct StackedLinear {
  MatmulDesc desc;
  Tensor weight;  // [n, k], f32 or s8
  Tensor scales;  // [n] for s8
  Tensor bias;    // [n]

  WeightSource source() const;
};

bool is_int8(const Network& network, const ModelDirectory& model, const Op& linear);

// `parts` are kLinear with inputs of the same width and weights of one type; `float_type` is what
// those that are not int8 are multiplied in. Throws Error: a tensor of an unexpected type.
StackedLinear load_linear(const Network& network, const ModelDirectory& model,
                          std::span<const Op* const> parts, MatmulType float_type);

// Whether one product for all `parts` loses nothing: they read one value, their weights are of one
// type, and all or none of them are 2:4.
bool can_stack(const Network& network, const ModelDirectory& model,
               std::span<const Op* const> parts);

}  // namespace twofour
