// The plain product on the host, over copies: slow, for tests and as the last resort.
#include <cstring>
#include <vector>

#include "twofour/backend/cuda/device_weight.h"
#include "twofour/backend/cuda/reference_product.h"

namespace twofour::cuda {
namespace {

struct Weight final : DeviceWeight {
  size_t bytes() const override { return 0; }

  std::vector<std::byte> dense;
  std::vector<float> scales, bias;
};

std::vector<float> vector_of(const float* values, int64_t count) {
  return values == nullptr ? std::vector<float>() : std::vector<float>(values, values + count);
}

class DeviceReference final : public DeviceKernel {
 public:
  std::string_view name() const override { return "matmul_host_reference"; }
  bool sparse() const override { return false; }

  std::unique_ptr<DeviceWeight> pack(const DeviceContext&, const DeviceLinearDesc& desc,
                                     const DeviceWeightSource& source, StreamHandle,
                                     std::string_view) const override {
    auto packed = std::make_unique<Weight>();
    packed->dense.resize(static_cast<size_t>(desc.n) * desc.k * dtype_bytes(desc.input));
    std::memcpy(packed->dense.data(), source.weight, packed->dense.size());
    packed->scales = vector_of(source.scales, desc.n);
    packed->bias = vector_of(source.bias, desc.n);
    return packed;
  }

  void run(const DeviceContext& context, const DeviceLinearDesc& desc, const DeviceWeight& weight,
           const DeviceLinearArgs& args, StreamHandle stream, DeviceScratch&) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    const auto& packed = static_cast<const Weight&>(weight);
    std::vector<std::byte> x(static_cast<size_t>(args.m) * desc.k * dtype_bytes(desc.input));
    std::vector<std::byte> y(static_cast<size_t>(args.m) * desc.n * dtype_bytes(desc.output));
    copy(context, x.data(), args.x, x.size(), stream);
    ReferenceProduct product;
    product.m = args.m;
    product.n = desc.n;
    product.k = desc.k;
    product.input = desc.input;
    product.output = desc.output;
    product.x = x.data();
    product.weight = packed.dense.data();
    product.alpha = args.input_scale;
    product.scales = packed.scales.empty() ? nullptr : packed.scales.data();
    product.bias = packed.bias.empty() ? nullptr : packed.bias.data();
    product.activation = desc.activation;
    product.output_scale = args.output_scale;
    product.y = y.data();
    reference_product(product);
    copy(context, args.y, y.data(), y.size(), stream);
  }

 private:
  // And waits: both ends are the host's business.
  static void copy(const DeviceContext& context, void* to, const void* from, size_t bytes,
                   StreamHandle stream) {
    Runtime& runtime = *context.runtime;
    check(runtime, runtime.copy(to, from, bytes, stream), "cudaMemcpyAsync");
    check(runtime, runtime.synchronize(stream), "cudaStreamSynchronize");
  }

  std::optional<std::string> rejects(const DeviceContext&, const DeviceLinearDesc&,
                                     int64_t) const override {
    return std::nullopt;
  }
};

}  // namespace

const DeviceKernel& device_reference_kernel() {
  static const DeviceReference kernel;
  return kernel;
}

}  // namespace twofour::cuda
