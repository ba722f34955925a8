// What an exported file says about its origin.
#pragma once

#include <string>
#include <vector>

#include "twofour/export/converter.h"

namespace twofour {

// One JSON object: version, "model" (io/content_hash.h), target, recipe and pruning as in
// twofour.json, and "tensors": for each weight of a linear layer its type and, as integers, its
// values, how many are zero, its groups of four along k and how many of them are 2:4.
std::string export_metadata(const ModelDirectory& model, const ExportOptions& options,
                            const std::vector<WrittenLayer>& layers);

}  // namespace twofour
