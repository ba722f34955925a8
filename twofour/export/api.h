// What the command asks of the export library, which it opens at run time. No protobuf in this
// header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "twofour/base/dtype.h"
#include "twofour/graph/inspect.h"
#include "twofour/graph/spmm_node.h"
#include "twofour/graph/weights.h"

namespace twofour {

inline constexpr int64_t kMinOpset = 17, kMaxOpset = 21;

// Rows up to which the plug-in can have plans.
inline constexpr int64_t kLargestPluginM = int64_t{1} << 20;

struct ExportRequest {
  std::filesystem::path model;  // a model directory, or a network as FILE.onnx
  std::filesystem::path out;    // FILE.onnx
  std::string target = "onnxruntime";
  int64_t opset = 17;
  // Keep quantized values at -127 and above, as the engine does; ONNX's own range goes to -128.
  bool clip = true;
  // Of an int8 model: what a residual connection adds is the int8 copy that products read. The
  // engine adds the float.
  bool quantize_residual = false;
  // "f32" or "fp16": of a float model's embeddings and encoder.
  std::string precision = "f32";
  // The encoder's linear layers as 1x1 convolutions.
  bool gemm_as_conv = false;
  // Linear layers that cuSPARSELt can take as nodes of the TensorRT plug-in, with plans up to
  // plugin_max_m rows.
  bool plugin = false;
  int64_t plugin_max_m = spmm_node::kDefaultMaxM;
  // Weights in FILE.onnx.data; a model beyond protobuf's 2 GB has them there anyway.
  bool external_data = false;
};

enum class LayerForm { kMatMul, kConvolution, kPlugin };

// A linear layer as it stands in the file.
struct WrittenLayer {
  std::string name;
  int64_t n = 0, k = 0;
  DType dtype = DType::kF32;
  LayerForm form = LayerForm::kMatMul;
  int64_t zeros = 0;                       // of n * k values
  int64_t groups = 0, groups_2_4 = 0;      // groups of four along k; none where k % 4 != 0
  int64_t first_row = -1, first_col = -1;  // of the first group that is not 2:4, in [n, k]
  bool sparse = false;                     // may be 2:4, and every group is
  std::vector<Eligibility> engines;        // "cusparselt", "tensorrt"
};

struct ExportSummary {
  int64_t nodes = 0;
  int64_t linear_layers = 0, int8_layers = 0, sparse_layers = 0;
  int64_t convolutions = 0;    // linear layers that became one
  int64_t plugin_layers = 0;   // linear layers that became a node of the plug-in
  int64_t int8_residuals = 0;  // residual connections that add an int8 copy
  int64_t quant_points = 0,
          clipped_points = 0;  // clipped: where values below -127 cannot be ruled out
  std::vector<WrittenLayer> layers;
  std::vector<WeightReport> weights;  // of a network in ONNX, in place of layers
  uint64_t bytes = 0;                 // of all files
  std::filesystem::path data;         // FILE.onnx.data; empty: weights are in FILE.onnx
};

class ExportApi {
 public:
  virtual ~ExportApi() = default;
  virtual std::vector<std::string> targets() const = 0;
  // Throws Error: no model, an unknown target or opset, a file that cannot be written. Replaces
  // `out`. A network in ONNX is written as it is, with its weights counted (network_file.h).
  virtual ExportSummary export_onnx(const ExportRequest& request) = 0;
  // inspect_onnx of onnx_weights.h.
  virtual std::vector<WeightReport> inspect_onnx(const std::filesystem::path& path) = 0;
};

// Opens libtwofour_export.so beside the command, or in ../lib, or where TWOFOUR_EXPORT_LIBRARY
// says. Throws Error with the remedy when it is absent. Thread-safe; the library stays open. (cli/
// implements this.)
ExportApi& export_api();

// The symbol that the library exports.
inline constexpr const char* kExportApiSymbol = "twofour_export_api_v5";
using ExportApiFunction = ExportApi* (*)();

}  // namespace twofour
