// One layer made sparse at once, without training: what prune writes and bench --as-if measures.
#pragma once

#include <string>

#include "twofour/base/tensor.h"
#include "twofour/graph/network.h"

namespace twofour::cli {

struct PruneOptions {
  double sparsity = 0.5;
  int share_rows = 1;
  std::string pairing = "least_energy";  // as recipes name it
  std::string saliency = "energy";
};

struct PrunedLayer {
  std::string name;  // of the op
  std::string weight;
  int64_t n = 0, k = 0;
  double sparsity = 0, energy_lost = 0;
  Tensor values{};  // F32 [n, k]
};

// Throws Error: rows that do not divide into sets of share_rows.
PrunedLayer prune_layer(const PruneOptions& options, const ModelDirectory& model,
                        const Network& network, const Op& op);

}  // namespace twofour::cli
