// What an exported file says about its origin.
#pragma once

#include <string>

#include "twofour/export/converter.h"

namespace twofour {

// One JSON object: version, target, recipe and pruning as in twofour.json, and "tensors": for each
// weight of a linear layer its type, share of zeros and share of groups of four that are 2:4,
// counted in the values that are exported.
std::string export_metadata(const ModelDirectory& model, const Network& network,
                            const ExportOptions& options);

}  // namespace twofour
