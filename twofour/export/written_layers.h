// The linear layers of a finished graph, counted in the values that are written.
#pragma once

#include <onnx/onnx.pb.h>

#include <vector>

#include "twofour/export/api.h"
#include "twofour/graph/network.h"

namespace twofour {

// In the order of the network's operations. Weights lie in the graph as [k, n] or [n, k, 1, 1] and
// must still be inside it (not in external data). Throws Error where a weight is missing or has
// another shape than the network's.
std::vector<WrittenLayer> written_layers(const Network& network, const onnx::GraphProto& graph);

}  // namespace twofour
