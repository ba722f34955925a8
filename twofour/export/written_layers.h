// The linear layers of a finished graph, counted in the values that are written.
#pragma once

#include <onnx/onnx.pb.h>

#include <string>
#include <string_view>
#include <vector>

#include "twofour/export/api.h"
#include "twofour/graph/network.h"

namespace twofour {

// In the order of the network's operations. Weights lie in the graph as [k, n] or [n, k, 1, 1], of
// a plug-in's node as [n, k], and must still be inside it (not in external data). Throws Error
// where a weight is missing or has another shape than the network's.
std::vector<WrittenLayer> written_layers(const Network& network, const onnx::GraphProto& graph);

// One layer with its weight in that form.
WrittenLayer written_layer(const Network& network, const Op& op, const onnx::TensorProto& weight,
                           LayerForm form);

// Why the sparse kernels of `engine` cannot take the layer; empty: they can.
std::string refusal(const WrittenLayer& layer, std::string_view engine);

}  // namespace twofour
