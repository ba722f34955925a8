// A model's report as JSON: the output of inspect --json and the report page's data.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "twofour/graph/inspect.h"

namespace twofour::cli {

// "classification, 3 labels", "embedding, mean pooling, normalized"
std::string describe_head(const ModelConfig& config);

nlohmann::ordered_json inspect_json(const ModelDirectory& model, const ModelReport& report,
                                    std::optional<uint64_t> memory_bytes);

}  // namespace twofour::cli
