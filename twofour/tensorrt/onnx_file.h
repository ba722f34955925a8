// What can be said of an ONNX file before TensorRT parses it, and about what TensorRT says then.
// Reads no more of ONNX than that.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "twofour/tensorrt/profile.h"

namespace twofour::tensorrt {

// The oldest operator set that twofour export writes.
inline constexpr int64_t kLeastOpset = 17;

struct OnnxNode {
  std::string type, name;
};

struct OnnxFile {
  int64_t opset = 0;                 // of ONNX's own operators
  std::vector<NetworkInput> inputs;  // without those that are initializers
  std::vector<OnnxNode> nodes;       // of the main graph, in its order
};

// Throws Error: it cannot be read, or is no ONNX model.
OnnxFile read_onnx(const std::filesystem::path& onnx);

// Throws Error with the remedy: as read_onnx() does, for an older operator set than kLeastOpset,
// and for inputs as choose_profile() does.
void check_onnx(const std::filesystem::path& onnx);

// "node 12 (Einsum 'encoder/Scores')"; "node 12" where there is none with this index.
std::string node_text(const OnnxFile& file, int64_t index);

}  // namespace twofour::tensorrt
