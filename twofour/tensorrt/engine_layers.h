// What TensorRT made of a network, from the JSON of its engine inspector.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofour::tensorrt {

struct EngineLayer {
  std::string name;
  std::string type;                      // "CaskConvolution", "gemm", "PluginV3"; empty: not told
  std::string tactic;                    // the kernel's name, where there is one
  std::vector<std::string> onnx_layers;  // ONNX nodes that it computes
  bool sparse = false;                   // the kernel multiplies 2:4 weights
  bool plugin = false;                   // SpmmPluginDynamic, which always does

  // Whether it holds a product of a linear layer: a MatMul, Conv or plug-in node of the exporter's.
  bool product() const;
};

// In the order of execution. Throws Error for anything but the inspector's JSON, and where it was
// asked of an engine that was not built with detailed profiling verbosity.
std::vector<EngineLayer> parse_engine_layers(std::string_view json);

}  // namespace twofour::tensorrt
