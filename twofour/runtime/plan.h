// What an engine executes: a Network compiled to steps over buffers, with packed weights.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "twofour/backend/linear.h"
#include "twofour/backend/vector_ops.h"
#include "twofour/graph/network.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/fused_steps.h"

namespace twofour {

struct PlannedValue {
  int f32_slot = -1;     // -1: nobody reads it as floats
  int64_t column = 0;    // of its first float in a row of the slot
  int64_t stride = 0;    // floats from row to row
  int s8_slot = -1;      // -1: nobody reads it quantized
  float scale = 0;       // of the quantized form; by row if there are row scales
  float offset = 0;      // added before it is quantized: zero point times scale
  int scales_slot = -1;  // f32, one for each row; -1: `scale` for all
};

struct Step : FusedStep {
  std::unique_ptr<PackedLinear> linear;
  std::vector<Tensor> parameters;  // f32; kEmbedding, kLayerNorm
};

struct Plan {
  std::vector<Step> steps;
  std::vector<PlannedValue> values;  // as in Network::values
  std::vector<Slot> slots;
  std::vector<LayerInfo> layers;
  Attention attention;
  EngineOptions options;  // as Engine::options() gives them
  uint64_t packed_bytes = 0;
};

// EngineOptions::backend as it takes effect. Throws Error for another name.
std::string_view choose_backend(const EngineOptions& options);
inline constexpr std::string_view kOwnBackend = "twofour", kTensorRtBackend = "tensorrt";

// The GPU of the backend tensorrt, the first where none is named. Throws Error for the CPU and for
// another name.
int tensorrt_device(const EngineOptions& options);

// EngineOptions::activation_scales as it takes effect. Throws Error for another name.
std::string_view choose_activation_scales(const std::string& option);

// Throws Error: a parameter that is missing, wrong or not finite, a head that the file lacks.
void check_complete(const Network& network, const ModelDirectory& model);

// Of a model that is complete. Throws Error: readers of one value that disagree about its scale, an
// option that this machine cannot fulfil.
Plan make_plan(const Network& network, const ModelDirectory& model, const EngineOptions& options);

}  // namespace twofour
