// What the products of any ONNX file multiply by, counted.
#pragma once

#include <onnx/onnx.pb.h>

#include <filesystem>
#include <vector>

#include "twofour/graph/weights.h"

namespace twofour {

// The constant weight of each Conv, Gemm, MatMul and plug-in node of the main graph, each weight
// once. DequantizeLinear, Transpose, Cast and Identity may stand between; what QuantizeLinear makes
// of floats is computed, and values are counted behind it, zero point taken off. Throws Error: no
// ONNX model, a tensor that is damaged.
std::vector<WeightReport> inspect_onnx(const std::filesystem::path& path);

// The same in two steps; `path` is where the model was read from.
onnx::ModelProto read_onnx_model(const std::filesystem::path& path);
std::vector<WeightReport> inspect_onnx(const onnx::ModelProto& model,
                                       const std::filesystem::path& path);

}  // namespace twofour
