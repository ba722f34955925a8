// 2:4 kernels on CUTLASS, with all that follows the product: spmm24_cutlass.h.
#include "twofour/backend/cuda/device_weight.h"
#include "twofour/backend/cuda/spmm24_cutlass_weight.h"

namespace twofour::cuda {
namespace {

struct Weight final : DeviceWeight {
  Weight(const DeviceContext& context, const DeviceLinearDesc& desc,
         const DeviceWeightSource& source, const Spmm24CutlassWeight& packed, StreamHandle stream,
         std::string_view name)
      : vectors(*context.runtime, desc, source, name, stream),
        values(upload(*context.runtime, packed.values.data(), packed.values.size(), name, stream)),
        metadata(upload(*context.runtime, packed.metadata.data(), packed.metadata.size(), name,
                        stream)) {}
  size_t bytes() const override { return values.size() + metadata.size() + vectors.bytes(); }

  DeviceVectors vectors;
  DeviceBuffer values, metadata;
};

class Spmm24Cutlass final : public DeviceKernel {
 public:
  Spmm24Cutlass(CutlassForm form, std::string_view name) : form_(form), name_(name) {}

  std::string_view name() const override { return name_; }
  bool sparse() const override { return true; }

  std::unique_ptr<DeviceWeight> pack(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     const DeviceWeightSource& source, StreamHandle stream,
                                     std::string_view name) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    const Spmm24CutlassWeight host =
        pack_spmm24_cutlass(name, form_, desc.input, desc.n, desc.k, source.weight);
    auto packed = std::make_unique<Weight>(context, desc, source, host, stream, name);
    check(*context.runtime, context.runtime->synchronize(stream), "cudaStreamSynchronize");
    return packed;
  }

  void run(const DeviceContext& context, const DeviceLinearDesc& desc, const DeviceWeight& weight,
           const DeviceLinearArgs& args, StreamHandle stream, DeviceScratch&) const override {
    const DeviceGuard guard(*context.runtime, context.device);
    const auto& packed = static_cast<const Weight&>(weight);
    Spmm24CutlassArgs launch;
    launch.x = args.x;
    launch.values = packed.values.data();
    launch.metadata = packed.metadata.data();
    launch.m = args.m;
    launch.n = launch.y_stride = desc.n;
    launch.k = launch.x_stride = desc.k;
    launch.y = args.y;
    launch.input_scale = args.input_scale;
    launch.weight_scales = packed.vectors.scale();
    launch.bias = packed.vectors.bias_data();
    launch.output_scale = args.output_scale;
    context.kernels->spmm24_cutlass(
        default_spmm24_cutlass(form_, context.properties, args.m, desc.n), desc.input, desc.output,
        desc.activation, launch, stream);
  }

 private:
  std::optional<std::string> rejects(const DeviceContext& context, const DeviceLinearDesc& desc,
                                     int64_t) const override {
    if (std::string missing = context.kernels->spmm24_cutlass_missing(form_); !missing.empty())
      return missing;
    return spmm24_cutlass_rejects(form_, context.properties, desc.input, desc.output, desc.n,
                                  desc.k);
  }

  CutlassForm form_;
  std::string_view name_;
};

}  // namespace

const DeviceKernel& spmm24_cutlass_kernel(CutlassForm form) {
  static const Spmm24Cutlass sm80(CutlassForm::kSm80, "spmm24_cutlass_sm80");
  static const Spmm24Cutlass sm90(CutlassForm::kSm90, "spmm24_cutlass_sm90");
  return form == CutlassForm::kSm80 ? sm80 : sm90;
}

}  // namespace twofour::cuda
