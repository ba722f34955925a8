#include "twofour/backend/cuda/device_weight.h"

namespace twofour::cuda {

DeviceBuffer upload(Runtime& runtime, const void* data, size_t bytes, std::string_view what,
                    StreamHandle stream) {
  DeviceBuffer buffer(runtime, bytes, what);
  if (bytes > 0)
    check(runtime, runtime.copy(buffer.data(), data, bytes, stream), "cudaMemcpyAsync");
  return buffer;
}

DeviceVectors::DeviceVectors(Runtime& runtime, const DeviceLinearDesc& desc,
                             const DeviceWeightSource& source, std::string_view name,
                             StreamHandle stream) {
  const size_t size = static_cast<size_t>(desc.n) * sizeof(float);
  if (source.scales != nullptr) scales = upload(runtime, source.scales, size, name, stream);
  if (source.bias != nullptr) bias = upload(runtime, source.bias, size, name, stream);
}

void* product_output(const DeviceContext& context, const DeviceLinearDesc& desc,
                     const DeviceLinearArgs& args, DeviceScratch& scratch) {
  const DType type = desc.product().output;
  if (type == desc.output) return args.y;
  const size_t bytes = static_cast<size_t>(args.room) * desc.n * dtype_bytes(type);
  if (scratch.sums.size() < bytes) {
    scratch.sums.reset();  // waits for the kernels that still use it
    scratch.sums = DeviceBuffer(*context.runtime, bytes, "sums of a layer");
  }
  return scratch.sums.data();
}

void finish_product(const DeviceContext& context, const DeviceLinearDesc& desc,
                    const DeviceVectors& vectors, const DeviceLinearArgs& args, const void* sums,
                    StreamHandle stream) {
  const DType type = desc.product().output;
  const bool scaled = args.input_scale != 1 || vectors.scale() != nullptr;
  if (type == desc.output && !scaled && vectors.bias_data() == nullptr && !desc.activation) return;
  EpilogueArgs epilogue;
  epilogue.x = sums;
  epilogue.y = args.y;
  epilogue.m = args.m;
  epilogue.n = epilogue.x_stride = epilogue.y_stride = desc.n;
  epilogue.input_scale = args.input_scale;
  epilogue.weight_scales = vectors.scale();
  epilogue.bias = vectors.bias_data();
  epilogue.output_scale = args.output_scale;
  context.kernels->epilogue(type, desc.output, desc.activation, epilogue, stream);
}

}  // namespace twofour::cuda
