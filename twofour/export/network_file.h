// A network that others wrote as ONNX, a convolutional one for example, with what its weights are.
#pragma once

#include "twofour/export/api.h"

namespace twofour {

// By its name, FILE.onnx.
bool is_network_file(const std::filesystem::path& path);

// Writes the same network, with its weights counted (onnx_weights.h) in the property "twofour". Of
// the request only `out` and `external_data` may differ from their defaults; the target does not
// matter. Throws Error as inspect_onnx() does, and where no weight is found.
ExportSummary export_network(const ExportRequest& request);

}  // namespace twofour
