// What an engine executes on a device: a Network compiled to products and kernels over buffers,
// with its weights in device memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/device.h"
#include "twofour/backend/cuda/device_linear.h"
#include "twofour/graph/network.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/fused_steps.h"

namespace twofour {

struct DeviceValue {
  DType type = DType::kF32;
  int slot = -1;       // -1: nobody reads it as it is
  int64_t column = 0;  // of its first element in a row of the slot
  int64_t stride = 0;  // elements from row to row
  int s8_slot = -1;    // -1: nobody reads it quantized
  float scale = 0;     // of the quantized form
};

struct DeviceStep : FusedStep {
  const Op* norm = nullptr;  // kEmbedding: the LayerNorm fused behind it
  bool e4m3 = false;  // kLinear: of float weights, in E4M3; `int8` stands too: x is quantized
  // kLinear: the product, or none where the head's kernel computes the layer.
  std::unique_ptr<cuda::DeviceLinear> linear;
  int product_slot = -1;  // kLinear: the product, where an epilogue follows
  // kLayerNorm: the layer whose product it reads as it is, scales and bias still to be applied.
  const cuda::DeviceLinear* producer = nullptr;
  std::vector<cuda::DeviceBuffer> parameters;  // in the order of OpKind; with `norm`, its own last
};

struct DevicePlan {
  std::shared_ptr<cuda::Device> device;
  DType float_type = DType::kF32;     // of the residual stream and all that is not quantized
  DType quantized_type = DType::kI8;  // or kF8E4M3
  std::vector<DeviceStep> steps;
  std::vector<DeviceValue> values;  // as in Network::values
  int output_slot = -1;             // f32 [rows, width]: the network's output
  std::vector<Slot> slots;
  std::vector<LayerInfo> layers;
  EngineOptions options;  // as Engine::options() gives them
  uint64_t packed_bytes = 0;
};

// Of a model that is complete. Throws Error: what make_plan() throws, device memory, an op or a
// width that the device's kernels lack, an option that the device does not know.
DevicePlan make_device_plan(const Network& network, const ModelDirectory& model,
                            const EngineOptions& options, std::shared_ptr<cuda::Device> device);

// Throws Error: a model whose activations are dynamic.
void check_static_activations(const ModelDirectory& model);

// Names that EngineOptions::force_kernel may have on a device.
std::span<const std::string_view> forcible_device_kernels();

// Results go through memory in rows of these at most: batches with more tokens run in parts.
constexpr int64_t kDeviceTokens = 16384;

}  // namespace twofour
