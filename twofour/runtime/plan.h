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

namespace twofour {

// A piece of the arena, reused by values that do not live at the same time.
struct Slot {
  Rows rows = Rows::kTokens;
  int64_t row_bytes = 0;
};

struct PlannedValue {
  int f32_slot = -1;   // -1: nobody reads it as floats
  int64_t column = 0;  // of its first float in a row of the slot
  int64_t stride = 0;  // floats from row to row
  int s8_slot = -1;    // -1: nobody reads it quantized
  float scale = 0;     // of the quantized form
};

// An op with what is fused into it.
struct Step {
  const Op* op = nullptr;       // in Network::ops
  ValueId residual = kNoValue;  // kLayerNorm: added to the input first
  ValueId input = kNoValue;     // first input, after fusion
  ValueId output = kNoValue;    // after fusion
  // kLinear: the layers computed in one product, results side by side; [op] for most.
  std::vector<const Op*> parts;
  std::unique_ptr<PackedLinear> linear;
  bool int8 = false;               // kLinear
  std::vector<Tensor> parameters;  // f32; kEmbedding, kLayerNorm
};

struct Plan {
  std::vector<Step> steps;
  std::vector<PlannedValue> values;  // as in Network::values
  std::vector<Slot> slots;
  std::vector<LayerInfo> layers;
  Attention attention = nullptr;
  EngineOptions options;  // as Engine::options() gives them
  uint64_t packed_bytes = 0;
};

// Throws Error: a missing or wrong parameter, readers of one value that disagree about its scale.
Plan make_plan(const Network& network, const ModelDirectory& model, const EngineOptions& options);

}  // namespace twofour
