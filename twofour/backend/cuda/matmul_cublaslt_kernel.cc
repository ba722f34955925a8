// Dense products by cuBLASLt, the epilogue by our own kernel.
#include "twofour/backend/cuda/device_weight.h"

namespace twofour::cuda {
namespace {

struct Weight final : DeviceWeight {
  Weight(const DeviceContext& context, const DeviceLinearDesc& desc,
         const DeviceWeightSource& source, StreamHandle stream, std::string_view name)
      : vectors(*context.runtime, desc, source, name, stream),
        dense(upload(*context.runtime, source.weight,
                     static_cast<size_t>(desc.n) * desc.k * dtype_bytes(desc.input), name,
                     stream)) {}
  size_t bytes() const override { return dense.size() + vectors.bytes(); }

  DeviceVectors vectors;
  DeviceBuffer dense;
};

class MatmulCublasLt final : public DeviceKernel {
 public:
  std::string_view name() const override { return "matmul_cublaslt"; }
  bool sparse() const override { return false; }

  std::unique_ptr<DeviceWeight> pack(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     const DeviceWeightSource& source, StreamHandle stream,
                                     std::string_view name) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    auto packed = std::make_unique<Weight>(context, desc, source, stream, name);
    check(*context.runtime, context.runtime->synchronize(stream), "cudaStreamSynchronize");
    return packed;
  }

  void run(const DeviceContext& context, const DeviceLinearDesc& desc, const DeviceWeight& weight,
           const DeviceLinearArgs& args, StreamHandle stream,
           DeviceScratch& scratch) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    const auto& packed = static_cast<const Weight&>(weight);
    void* sums = product_output(context, desc, args, scratch);
    matmul_dense(*context.dense, desc.product(), {args.m, args.x, packed.dense.data(), sums, 1},
                 context.device, stream, scratch.dense);
    finish_product(context, desc, packed.vectors, args, sums, stream);
  }

 private:
  std::optional<std::string> rejects(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     int64_t) const override {
    if (context.dense == nullptr) return context.dense_missing;
    return dense_rejects(desc.product(), context.properties);
  }
};

}  // namespace

const DeviceKernel& matmul_cublaslt_kernel() {
  static const MatmulCublasLt kernel;
  return kernel;
}

}  // namespace twofour::cuda
