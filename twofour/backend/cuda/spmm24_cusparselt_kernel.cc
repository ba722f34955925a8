// 2:4 products by cuSPARSELt, the epilogue by our own kernel.
#include "twofour/backend/cuda/device_weight.h"

namespace twofour::cuda {
namespace {

struct Weight final : DeviceWeight {
  Weight(const DeviceContext& context, const DeviceLinearDesc& desc,
         const DeviceWeightSource& source, StreamHandle stream, std::string_view name)
      : vectors(*context.runtime, desc, source, name, stream),
        compressed(*context.sparse, desc.product(), source.weight, context.device, stream, name) {}
  size_t bytes() const override { return compressed.bytes() + vectors.bytes(); }

  DeviceVectors vectors;
  CompressedWeight compressed;
};

class Spmm24CusparseLt final : public DeviceKernel {
 public:
  std::string_view name() const override { return "spmm24_cusparselt"; }
  bool sparse() const override { return true; }

  std::unique_ptr<DeviceWeight> pack(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     const DeviceWeightSource& source, StreamHandle stream,
                                     std::string_view name) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    return std::make_unique<Weight>(context, desc, source, stream, name);
  }

  void run(const DeviceContext& context, const DeviceLinearDesc& desc, const DeviceWeight& weight,
           const DeviceLinearArgs& args, StreamHandle stream,
           DeviceScratch& scratch) const override {
    constexpr float kOne = 1;
    const DeviceGuard guard(*context.runtime, context.device);
    const auto& packed = static_cast<const Weight&>(weight);
    void* sums = product_output(context, desc, args, scratch);
    spmm24(*context.sparse, desc.product(),
           {args.m, args.room, args.x, packed.compressed.data(), sums, &kOne}, context.device,
           stream, scratch.sparse);
    finish_product(context, desc, packed.vectors, args, sums, stream);
  }

 private:
  std::optional<std::string> rejects(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     int64_t) const override {
    if (context.sparse == nullptr) return context.sparse_missing;
    return cuda::rejects(desc.product(), context.properties);
  }
};

}  // namespace

const DeviceKernel& spmm24_cusparselt_kernel() {
  static const Spmm24CusparseLt kernel;
  return kernel;
}

}  // namespace twofour::cuda
