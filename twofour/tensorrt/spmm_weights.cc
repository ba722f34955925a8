#include "twofour/tensorrt/spmm_weights.h"

#include <span>
#include <vector>

namespace twofour::tensorrt {
namespace {

using cuda::DeviceBuffer;

template <class T>
DeviceBuffer upload(cuda::Runtime& runtime, const std::vector<T>& values, const std::string& name,
                    cuda::StreamHandle stream) {
  if (values.empty()) return {};
  DeviceBuffer buffer(runtime, values.size() * sizeof(T), name);
  cuda::check(runtime, runtime.copy(buffer.data(), values.data(), buffer.size(), stream),
              "cudaMemcpyAsync");
  cuda::check(runtime, runtime.synchronize(stream), "cudaStreamSynchronize");
  return buffer;
}

std::vector<uint16_t> narrowed(const std::vector<float>& values, DType type) {
  std::vector<uint16_t> out;
  out.reserve(values.size());
  for (const float value : values)
    out.push_back(type == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value));
  return out;
}

std::vector<float> scales_of(const SpmmDefinition& d) {
  std::vector<float> scales(d.weight_scale);
  for (float& scale : scales) scale *= d.input_scale;
  return scales;
}

cuda::ProductDesc product_of(const SpmmDefinition& d, const void* bias) {
  cuda::ProductDesc product{
      d.n, d.k, d.type, d.output_type(), std::nullopt, bias, d.type == DType::kI8};
  if (d.epilogue == Epilogue::kBiasRelu) product.activation = ActivationKind::kRelu;
  return product;
}

}  // namespace

const DeviceWeights& SpmmWeights::on(int device, SpmmResources& resources) {
  const std::lock_guard lock(mutex_);
  auto& weights = devices_[device];
  if (weights == nullptr) weights = make(device, resources);
  return *weights;
}

std::unique_ptr<DeviceWeights> SpmmWeights::make(int device, SpmmResources& resources) const {
  const SpmmDefinition& d = definition_;
  cuda::Runtime& runtime = resources.runtime();
  const cuda::DeviceGuard guard(runtime, device);
  const cuda::Stream stream(runtime);
  // cuSPARSELt has no GELU in its erf form: a kernel adds the bias and computes it.
  const bool kernel = d.epilogue == Epilogue::kBiasGelu;
  const DType bias_type = kernel ? DType::kF32 : cuda::bias_type(product_of(d, nullptr));
  DeviceBuffer bias = bias_type == DType::kF32
                          ? upload(runtime, d.bias, d.name, stream.handle())
                          : upload(runtime, narrowed(d.bias, bias_type), d.name, stream.handle());
  DeviceBuffer scale = upload(runtime, scales_of(d), d.name, stream.handle());
  const cuda::ProductDesc product = product_of(d, kernel ? nullptr : bias.data());
  const Tensor dense = expand(d.weight);
  cuda::CompressedWeight weight(resources.plans(d.max_m, d.bucket_step), product, dense.data(),
                                device, stream.handle(), d.name);
  return std::make_unique<DeviceWeights>(
      DeviceWeights{product, std::move(weight), std::move(bias), std::move(scale)});
}

}  // namespace twofour::tensorrt
