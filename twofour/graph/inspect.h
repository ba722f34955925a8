// What each linear layer of a model is, can become, and costs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/sparse/sparse24.h"

namespace twofour {

// Whether an engine can run the layer 2:4 sparse in int8.
struct Eligibility {
  std::string engine;  // "cpu", "cusparselt", "tensorrt"
  std::string reason;  // why not; empty: eligible
};

struct LayerReport {
  std::string name;
  int64_t n = 0, k = 0;
  DType dtype = DType::kF32;
  std::string not_prunable;  // why the layer stays dense; empty: may become 2:4
  std::vector<Eligibility> engines;
  SparsityReport sparsity;
  uint64_t bytes_now = 0;  // in the file: weight and scales
  uint64_t bytes_after =
      0;  // as 2:4 int8: values, metadata and scales; as now where the layer stays dense
};

struct ModelReport {
  std::vector<LayerReport> layers;  // linear layers in execution order
  std::vector<std::string> absent;  // parameters of a head that the file lacks
  uint64_t weight_file_bytes = 0;
  uint64_t matrix_bytes_now = 0, matrix_bytes_after = 0;  // sums over layers
  uint64_t other_bytes = 0;                               // embeddings, biases, LayerNorms
  // Tensors of the model that the network does not read: layers beyond its own, a pooler. Those
  // that ModelDirectory leaves out are not among them.
  int64_t unused_tensors = 0;
  uint64_t unused_bytes = 0;
};

// Reasons why a [n, k] linear layer cannot be 2:4 int8, by engine.
std::vector<Eligibility> sparse_int8_engines(int64_t n, int64_t k);

// Empty if the op may be made 2:4, otherwise why not ("k = 30 is not a multiple of 4").
std::string why_not_prunable(const Network& network, const Op& op);

// "LAYER stays dense: REASON", to warn who would prune it.
std::string dense_layer_warning(const Op& op, std::string_view reason);

// Names of the model's tensors that the network does not read: see ModelReport::unused_tensors.
std::vector<std::string> unread_tensors(const Network& network, const ModelDirectory& model);

// Throws Error as check_parameters does.
ModelReport inspect_model(const Network& network, const ModelDirectory& model);

}  // namespace twofour
