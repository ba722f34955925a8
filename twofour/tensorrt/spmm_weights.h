// The weight, bias and scales of one plug-in, which all its clones share.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "twofour/backend/cuda/product.h"
#include "twofour/backend/cuda/spmm24.h"
#include "twofour/tensorrt/spmm_definition.h"
#include "twofour/tensorrt/spmm_resources.h"

namespace twofour::tensorrt {

// On one device, with the product that cuSPARSELt computes and what an epilogue kernel adds.
struct DeviceWeights {
  cuda::ProductDesc product;
  cuda::CompressedWeight weight;
  cuda::DeviceBuffer bias;   // [n] of the product's output type, or f32 for the epilogue kernel
  cuda::DeviceBuffer scale;  // [n] f32: input_scale * weight_scale of int8
};

class SpmmWeights {
 public:
  explicit SpmmWeights(SpmmDefinition definition) : definition_(std::move(definition)) {}

  const SpmmDefinition& definition() const { return definition_; }

  // Compressed and copied when first asked for, by whichever thread; it waits for the copies.
  // Throws Error where the device cannot compute the product or lacks memory.
  const DeviceWeights& on(int device, SpmmResources& resources);

 private:
  std::unique_ptr<DeviceWeights> make(int device, SpmmResources& resources) const;

  const SpmmDefinition definition_;
  std::mutex mutex_;
  std::map<int, std::unique_ptr<DeviceWeights>> devices_;
};

}  // namespace twofour::tensorrt
