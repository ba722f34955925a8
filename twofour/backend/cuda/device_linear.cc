#include "twofour/backend/cuda/device_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "twofour/backend/cuda/spmm24_cutlass_weight.h"
#include "twofour/backend/cuda/spmm24_mma_weight.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

std::string_view short_name(DType type) {
  switch (type) {
    case DType::kI8:
      return "s8";
    case DType::kF8E4M3:
      return "e4m3";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    default:
      return "f32";
  }
}

constexpr float kLargestE4m3 = 448;

const float* as_floats(const DeviceBuffer& buffer) {
  return reinterpret_cast<const float*>(buffer.data());
}

}  // namespace

DeviceLinear::DeviceLinear(Device& device, const DeviceLinearSpec& spec,
                           const DeviceLinearSource& source, StreamHandle stream)
    : device_(device), spec_(spec) {
  const DeviceGuard guard(device.runtime(), device.ordinal());
  product_.n = spec.n;
  product_.k = spec.k;
  product_.input = spec.weights;
  product_.output = spec.weights == DType::kI8       ? DType::kI32
                    : spec.weights == DType::kF8E4M3 ? spec.results
                                                     : spec.weights;
  if (spec.relu_in_product) product_.activation = ActivationKind::kRelu;
  if (!scale_in_product(source, stream)) {
    place_bias(source.bias, stream);
    if (!source.scales.empty())
      scales_ = upload_as(device, source.scales, DType::kF32, stream, spec.name + " scales");
  }
  place_weights(source, stream);
}

// Whether the product does it; scales of weights and input are one vector then.
bool DeviceLinear::scale_in_product(const DeviceLinearSource& source, StreamHandle stream) {
  if (!spec_.scale_in_product || !spec_.is_2_4 || spec_.force_dense) return false;
  ProductDesc scaled = product_;
  scaled.output = spec_.results;
  scaled.channel_scales = true;
  if (rejects(scaled, device_.properties())) return false;
  std::vector<float> alpha(source.scales.begin(), source.scales.end());
  for (float& value : alpha) value *= spec_.input_scale;
  alpha_ = upload_as(device_, alpha, DType::kF32, stream, spec_.name + " scales");
  product_bias_ = upload_as(device_, source.bias, bias_type(scaled), stream, spec_.name + " bias");
  scaled.bias = product_bias_.data();
  product_ = scaled;
  return true;
}

void DeviceLinear::place_bias(std::span<const float> bias, StreamHandle stream) {
  if (bias.empty()) return;
  const std::string what = spec_.name + " bias";
  if (spec_.bias_in_product && spec_.weights != DType::kI8) {
    product_bias_ = upload_as(device_, bias, bias_type(product_), stream, what);
    product_.bias = product_bias_.data();
  } else {
    bias_ = upload_as(device_, bias, DType::kF32, stream, what);
  }
}

void DeviceLinear::place_weights(const DeviceLinearSource& source, StreamHandle stream) {
  std::vector<std::byte> converted;
  const void* weight = source.weight.data;
  if (spec_.weights != DType::kI8 && spec_.weights != DType::kF32) {
    converted = rounded(source.weight.as<float>());
    weight = converted.data();
  }
  if (spec_.is_2_4) {
    why_dense_ = spec_.force_dense
                     ? "a dense kernel is forced"
                     : rejects(product_, device_.properties()).value_or(std::string());
    if (why_dense_.empty()) {
      sparse_.emplace(device_.add_sparse_layer(), product_, weight, device_.ordinal(), stream,
                      spec_.name);
      const PlanTable& plans = device_.plans();
      if (plans.uses(product_, PlanUse::kDense) &&
          !dense_rejects(dense_part(product_), device_.properties()))
        place_dense(weight, stream);
      if (plans.uses(product_, PlanUse::kOwn)) place_own(weight, stream);
      for (const CutlassForm form : {CutlassForm::kSm80, CutlassForm::kSm90}) {
        if (plans.uses(product_, form)) place_cutlass(form, weight, stream);
      }
      place_own_vectors(source, stream);
      return;
    }
  }
  if (const auto reason = dense_rejects(product_, device_.properties()))
    throw Error(spec_.name, fmt::format("no kernel of the device computes it: {}", *reason),
                "Run on the device cpu");
  place_dense(weight, stream);
}

// A zero of either sign becomes 0: what was pruned stays so in every bit.
std::vector<std::byte> DeviceLinear::rounded(std::span<const float> weights) {
  if (spec_.weights != DType::kF8E4M3) return round_to(spec_.weights, weights);
  float largest = 0;
  for (const float weight : weights) largest = std::max(largest, std::fabs(weight));
  if (largest > 0) weight_scale_ = largest / kLargestE4m3;
  std::vector<std::byte> out(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const uint8_t bits = f32_to_e4m3(weights[i] / weight_scale_);
    out[i] = std::byte(bits == 0x80 ? 0 : bits);
  }
  return out;
}

void DeviceLinear::place_dense(const void* weight, StreamHandle stream) {
  device_.add_dense_layer();  // found now rather than at the first batch
  const size_t bytes = static_cast<size_t>(spec_.n * spec_.k) * dtype_bytes(spec_.weights);
  dense_ = copy_to_device(device_.runtime(), weight, bytes, stream, spec_.name);
}

void DeviceLinear::place_own(const void* weight, StreamHandle stream) {
  const Spmm24MmaWeight packed =
      pack_spmm24_mma(spec_.name, spec_.weights, spec_.n, spec_.k, weight);
  Runtime& runtime = device_.runtime();
  own_.values =
      copy_to_device(runtime, packed.values.data(), packed.values.size(), stream, spec_.name);
  own_.metadata = copy_to_device(runtime, packed.metadata.data(),
                                 packed.metadata.size() * sizeof(uint32_t), stream, spec_.name);
}

// Nothing where this device, build or layer has not that form: a plan file may name any.
void DeviceLinear::place_cutlass(CutlassForm form, const void* weight, StreamHandle stream) {
  if (!device_.kernels().spmm24_cutlass_missing(form).empty() ||
      spmm24_cutlass_rejects(form, device_.properties(), spec_.weights, spec_.weights, spec_.n,
                             spec_.k)) {
    return;
  }
  const Spmm24CutlassWeight packed =
      pack_spmm24_cutlass(spec_.name, form, spec_.weights, spec_.n, spec_.k, weight);
  Runtime& runtime = device_.runtime();
  Packed& placed = cutlass_[static_cast<int>(form)];
  placed.values =
      copy_to_device(runtime, packed.values.data(), packed.values.size(), stream, spec_.name);
  placed.metadata =
      copy_to_device(runtime, packed.metadata.data(), packed.metadata.size(), stream, spec_.name);
}

void DeviceLinear::place_own_vectors(const DeviceLinearSource& source, StreamHandle stream) {
  if (own_.bytes() + cutlass_[0].bytes() + cutlass_[1].bytes() == 0) return;
  own_scales_ = upload_as(device_, source.scales, DType::kF32, stream, spec_.name + " scales");
  own_bias_ = upload_as(device_, source.bias, DType::kF32, stream, spec_.name + " bias");
}

std::string DeviceLinear::kernel() const {
  return fmt::format("{}_{}_{}", sparse() ? "spmm24" : "matmul", short_name(spec_.weights),
                     sparse() ? "cusparselt" : "cublaslt");
}

size_t DeviceLinear::bytes() const {
  return (sparse_ ? sparse_->bytes() : 0) + dense_.size() + alpha_.size() + scales_.size() +
         bias_.size() + product_bias_.size() + own_.bytes() + cutlass_[0].bytes() +
         cutlass_[1].bytes() + own_scales_.size() + own_bias_.size();
}

const float* DeviceLinear::weight_scales() const { return as_floats(scales_); }

const float* DeviceLinear::bias() const { return as_floats(bias_); }

PlanChoice DeviceLinear::planned(int64_t rows) const {
  const Buckets& buckets = device_.buckets();
  if (!sparse_ || rows > buckets.limit()) return {};
  const PlanChoice* choice = device_.plans().find(product_, buckets.rows(buckets.index_for(rows)));
  return choice != nullptr && placed(*choice) ? *choice : PlanChoice{};
}

bool DeviceLinear::placed(const PlanChoice& choice) const {
  switch (choice.use) {
    case PlanUse::kDense:
      return dense_.size() > 0;
    case PlanUse::kOwn:
      return own_.bytes() > 0;
    case PlanUse::kCutlass:
      return cutlass_[static_cast<int>(kSpmm24CutlassVariants[choice.variant].form)].bytes() > 0;
    case PlanUse::kSparse:
      return true;
  }
  __builtin_unreachable();
}

bool DeviceLinear::runs_own(int64_t rows) const {
  const PlanUse use = planned(rows).use;
  return use == PlanUse::kCutlass || (use == PlanUse::kOwn && rows <= kSpmm24MmaRows);
}

bool DeviceLinear::own_stores(DType output, int64_t rows) const {
  const PlanChoice choice = planned(rows);
  if (choice.use == PlanUse::kCutlass) {
    return !spmm24_cutlass_rejects(kSpmm24CutlassVariants[choice.variant].form,
                                   device_.properties(), spec_.weights, output, spec_.n, spec_.k);
  }
  return output == DType::kI8 || output == DType::kF16 || output == DType::kBF16;
}

void DeviceLinear::run_own(const OwnArgs& args, int64_t rows, StreamHandle stream) const {
  if (const PlanChoice choice = planned(rows); choice.use == PlanUse::kCutlass)
    return run_cutlass(choice.variant, args, rows, stream);
  Spmm24MmaArgs launch;
  launch.x = args.x;
  launch.values = own_.values.data();
  launch.metadata = reinterpret_cast<const uint32_t*>(own_.metadata.data());
  launch.m = rows;
  launch.n = spec_.n;
  launch.k = launch.x_stride = spec_.k;
  launch.y = args.y;
  launch.y_stride = args.y_stride;
  launch.input_scale = spec_.weights == DType::kI8 ? spec_.input_scale : 1;
  launch.weight_scales = as_floats(own_scales_);
  launch.bias = args.with_bias ? as_floats(own_bias_) : nullptr;
  launch.output_scale = args.output_scale;
  device_.kernels().spmm24_mma(spec_.weights, args.output, args.activation, launch, stream);
}

void DeviceLinear::run_cutlass(int variant, const OwnArgs& args, int64_t rows,
                               StreamHandle stream) const {
  const Packed& packed = cutlass_[static_cast<int>(kSpmm24CutlassVariants[variant].form)];
  Spmm24CutlassArgs launch;
  launch.x = args.x;
  launch.values = packed.values.data();
  launch.metadata = packed.metadata.data();
  launch.m = rows;
  launch.n = spec_.n;
  launch.k = launch.x_stride = spec_.k;
  launch.y = args.y;
  launch.y_stride = args.y_stride;
  launch.input_scale = spec_.weights == DType::kI8 ? spec_.input_scale : 1;
  launch.weight_scales = as_floats(own_scales_);
  launch.bias = args.with_bias ? as_floats(own_bias_) : nullptr;
  launch.output_scale = args.output_scale;
  device_.kernels().spmm24_cutlass(variant, spec_.weights, args.output, args.activation, launch,
                                   stream);
}

PreparedLinear DeviceLinear::prepare(int64_t rows, int64_t room, LinearScratch& scratch) const {
  PreparedLinear prepared;
  if (sparse_ && planned(rows).use != PlanUse::kDense) {
    prepared.sparse =
        prepare_spmm24(device_.sparse(), product_, rows, room, device_.ordinal(), scratch.sparse);
  } else {
    prepared.dense = prepare_dense(device_.dense(), dense_part(product_), rows, device_.ordinal(),
                                   scratch.dense);
    reserve_sums(rows, scratch);
  }
  return prepared;
}

void DeviceLinear::multiply(const void* x, void* y, int64_t rows, int64_t room, StreamHandle stream,
                            LinearScratch& scratch) const {
  if (sparse_ && planned(rows).use != PlanUse::kDense) {
    const float scale = product_scale();
    const float* alpha = product_.channel_scales ? as_floats(alpha_) : &scale;
    spmm24(device_.sparse(), product_, {rows, room, x, sparse_->data(), y, alpha},
           device_.ordinal(), stream, scratch.sparse);
  } else {
    multiply_dense(x, y, rows, stream, scratch);
  }
}

void DeviceLinear::reserve_sums(int64_t rows, LinearScratch& scratch) const {
  if (!product_.channel_scales) return;
  const size_t bytes = static_cast<size_t>(rows * spec_.n) * dtype_bytes(DType::kI32);
  if (scratch.sums.size() >= bytes) return;
  scratch.sums.reset();  // waits for the kernels that still use it
  scratch.sums = DeviceBuffer(device_.runtime(), bytes, "sums of dense int8 products");
}

// cuBLASLt does not scale: where cuSPARSELt would have, a kernel of our own follows.
void DeviceLinear::multiply_dense(const void* x, void* y, int64_t rows, StreamHandle stream,
                                  LinearScratch& scratch) const {
  const bool scales = product_.channel_scales;
  reserve_sums(rows, scratch);
  matmul_dense(device_.dense(), dense_part(product_),
               {rows, x, dense_.data(), scales ? scratch.sums.data() : y, product_scale()},
               device_.ordinal(), stream, scratch.dense);
  if (!scales) return;
  EpilogueArgs args;
  args.x = scratch.sums.data();
  args.y = y;
  args.m = rows;
  args.n = args.x_stride = args.y_stride = spec_.n;
  args.weight_scales = as_floats(alpha_);
  args.bias = as_floats(product_bias_);
  device_.kernels().epilogue(DType::kI32, product_.output, std::nullopt, args, stream);
}

}  // namespace twofour::cuda
