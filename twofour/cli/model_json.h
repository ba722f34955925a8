// A model's report as JSON: the output of inspect --json and the report page's data.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "twofour/graph/inspect.h"

namespace twofour::cli {

// "classification, 3 labels", "embedding, mean pooling, normalized"
std::string describe_head(const ModelConfig& config);

// "float", "int8 symmetric static per-tensor": what linear layers of the encoder multiply.
std::string describe_activations(const ModelConfig& config);

// "tensorrt (cusparselt: k = 48 is not a multiple of 32)"; "none: " and `dense`, which says why a
// weight cannot be 2:4, unless that is empty. As JSON by engine: true, or the reason.
std::string describe_engines(const std::string& dense, const std::vector<Eligibility>& engines);
nlohmann::ordered_json engines_json(const std::string& dense,
                                    const std::vector<Eligibility>& engines);

// Of the tensors that prune and calibrate, or a recipe, write as sparse int8: the encoder's
// matrices as int8 with zeros in their places, scales, and all else of the network as f32. The
// file's header comes on top.
uint64_t int8_file_bytes(const Network& network);

// Of the linear layers' weights, packed for this machine.
struct MemoryBytes {
  uint64_t now = 0;
  std::optional<uint64_t> after;  // as 2:4 int8; not known on a GPU
};

nlohmann::ordered_json inspect_json(const ModelDirectory& model, const Network& network,
                                    const ModelReport& report,
                                    const std::optional<MemoryBytes>& memory);

}  // namespace twofour::cli
