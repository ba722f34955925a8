// From a network and its weights to an ONNX graph.
#pragma once

#include <onnx/onnx.pb.h>

#include "twofour/export/api.h"
#include "twofour/export/target.h"
#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"

namespace twofour {

struct ExportOptions {
  const ExportTarget& target;
  int64_t opset = 17;
  bool clip = true;
  bool gemm_as_conv = false;
  bool half = false;    // embeddings and encoder of a float model in fp16
  bool plugin = false;  // nodes of the TensorRT plug-in; without gemm_as_conv
  int64_t plugin_max_m = spmm_node::kDefaultMaxM;
  bool quantize_residual = false;  // of an int8 model: residual connections add int8 copies
};

// Inputs input_ids, attention_mask, token_type_ids: int64 [batch, sequence]; the mask holds 0
// and 1. Output "logits" [batch, labels], "embeddings" [batch, width] or "last_hidden_state"
// [batch, sequence, width]. With gemm_as_conv the encoder's linear layers are 1x1 convolutions over
// [batch, width, sequence, 1], weights [n, k, 1, 1]. With plugin those that cuSPARSELt can take are
// nodes of graph/spmm_node.h. Fills the counts of `summary`. Throws Error as check_parameters does,
// for a head that the file lacks, an unknown opset, and where no layer can become a plug-in's node.
onnx::ModelProto convert_to_onnx(const ModelDirectory& model, const ExportOptions& options,
                                 ExportSummary& summary);

}  // namespace twofour
