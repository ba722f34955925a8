// Weights of files whose network is not known here, a convolutional one for example. A matrix
// [n, k] is a convolution of 1x1 with n output and k input channels.
#pragma once

#include <string>
#include <vector>

#include "twofour/graph/inspect.h"
#include "twofour/io/safetensors.h"
#include "twofour/sparse/convolution.h"

namespace twofour {

struct WeightReport {
  std::string name;   // of the tensor
  std::string op;     // that reads it: "Conv"; empty where the file has tensors alone
  std::string type;   // "F32", of quantized values "I8"
  Shape shape;        // as `op` reads it, behind a Transpose not as the file has it
  ConvShape conv;     // none where `dense` says that it is no convolution
  ConvCounts counts;  // of the values that are multiplied
  std::string dense;  // why it cannot be 2:4; empty: it may be
  std::vector<Eligibility> engines;  // "cusparselt", "tensorrt"; whether they could take it as 2:4
                                     // int8, by its shape

  bool is_sparse() const { return dense.empty() && counts.groups_2_4 == counts.groups_of_four; }
};

// `weight` is a matrix [n, k], or a convolution in that layout; F32, F16, BF16 or I8.
WeightReport report_weight(const std::string& name, const TensorView& weight, ConvLayout layout,
                           int64_t groups);

// Of tensors "weight" and "X.weight" with two dimensions or four. How many groups a convolution has
// is not in such a file: the input channels are those of one group.
std::vector<WeightReport> inspect_weights(const Safetensors& tensors, ConvLayout layout);

}  // namespace twofour
