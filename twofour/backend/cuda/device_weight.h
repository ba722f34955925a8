// What the kernels of device_kernel.h share: weights on their way to the device, and the epilogue
// behind a library's product.
#pragma once

#include <cstddef>
#include <string_view>

#include "twofour/backend/cuda/device_kernel.h"

namespace twofour::cuda {

// A copy of host memory on the current device.
DeviceBuffer upload(Runtime& runtime, const void* data, size_t bytes, std::string_view what,
                    StreamHandle stream);

// Scales and bias of a layer; empty where the source has none.
struct DeviceVectors {
  DeviceVectors(Runtime& runtime, const DeviceLinearDesc& desc, const DeviceWeightSource& source,
                std::string_view name, StreamHandle stream);

  const float* scale() const { return reinterpret_cast<const float*>(scales.data()); }
  const float* bias_data() const { return reinterpret_cast<const float*>(bias.data()); }
  size_t bytes() const { return scales.size() + bias.size(); }

  DeviceBuffer scales, bias;
};

// Where the product of a library goes: y itself where its type is the layer's, else memory for
// `args.room` rows.
void* product_output(const DeviceContext& context, const DeviceLinearDesc& desc,
                     const DeviceLinearArgs& args, DeviceScratch& scratch);

// Scales, bias, activation and the result's type, behind a product in `sums`; nothing where nothing
// is left to do.
void finish_product(const DeviceContext& context, const DeviceLinearDesc& desc,
                    const DeviceVectors& vectors, const DeviceLinearArgs& args, const void* sums,
                    StreamHandle stream);

}  // namespace twofour::cuda
