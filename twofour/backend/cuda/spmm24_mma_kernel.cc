// Our own 2:4 kernel for few rows, with all that follows the product: spmm24_mma.h.
#include <fmt/format.h>

#include "twofour/backend/cuda/device_weight.h"
#include "twofour/backend/cuda/spmm24_mma_weight.h"

namespace twofour::cuda {
namespace {

constexpr int kFirstCapability = 80;

struct Weight final : DeviceWeight {
  Weight(const DeviceContext& context, const DeviceLinearDesc& desc,
         const DeviceWeightSource& source, const Spmm24MmaWeight& packed, StreamHandle stream,
         std::string_view name)
      : vectors(*context.runtime, desc, source, name, stream),
        values(upload(*context.runtime, packed.values.data(), packed.values.size(), name, stream)),
        metadata(upload(*context.runtime, packed.metadata.data(),
                        packed.metadata.size() * sizeof(uint32_t), name, stream)) {}
  size_t bytes() const override { return values.size() + metadata.size() + vectors.bytes(); }

  DeviceVectors vectors;
  DeviceBuffer values, metadata;
};

class Spmm24Mma final : public DeviceKernel {
 public:
  std::string_view name() const override { return "spmm24_mma"; }
  bool sparse() const override { return true; }

  std::unique_ptr<DeviceWeight> pack(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     const DeviceWeightSource& source, StreamHandle stream,
                                     std::string_view name) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    const Spmm24MmaWeight host = pack_spmm24_mma(name, desc.input, desc.n, desc.k, source.weight);
    auto packed = std::make_unique<Weight>(context, desc, source, host, stream, name);
    check(*context.runtime, context.runtime->synchronize(stream), "cudaStreamSynchronize");
    return packed;
  }

  void run(const DeviceContext& context, const DeviceLinearDesc& desc, const DeviceWeight& weight,
           const DeviceLinearArgs& args, StreamHandle stream, DeviceScratch&) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    const auto& packed = static_cast<const Weight&>(weight);
    Spmm24MmaArgs launch;
    launch.x = args.x;
    launch.values = packed.values.data();
    launch.metadata = reinterpret_cast<const uint32_t*>(packed.metadata.data());
    launch.m = args.m;
    launch.n = launch.y_stride = desc.n;
    launch.k = launch.x_stride = desc.k;
    launch.y = args.y;
    launch.input_scale = args.input_scale;
    launch.weight_scales = packed.vectors.scale();
    launch.bias = packed.vectors.bias_data();
    launch.output_scale = args.output_scale;
    context.kernels->spmm24_mma(desc.input, desc.output, desc.activation, launch, stream);
  }

 private:
  std::optional<std::string> rejects(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     int64_t m) const override {
    if (context.properties.capability() < kFirstCapability) {
      return fmt::format("{} has compute capability {}.{}, sparse Tensor Cores need 8.0 or later",
                         context.properties.name, context.properties.major,
                         context.properties.minor);
    }
    if (m > kSpmm24MmaRows) return fmt::format("it takes up to {} rows, not {}", kSpmm24MmaRows, m);
    const int64_t multiple = dimension_multiple(desc.input);
    if (desc.n % 16 != 0) return fmt::format("n is {}, expected a multiple of 16", desc.n);
    if (desc.k <= 0 || desc.k % multiple != 0)
      return fmt::format("k is {}, expected a multiple of {}", desc.k, multiple);
    return std::nullopt;
  }
};

}  // namespace

const DeviceKernel& spmm24_mma_kernel() {
  static const Spmm24Mma kernel;
  return kernel;
}

}  // namespace twofour::cuda
