#include "twofour/runtime/device_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "twofour/base/error.h"
#include "twofour/base/setting.h"
#include "twofour/runtime/plan.h"
#include "twofour/runtime/stacked_linear.h"

namespace twofour {
namespace {

using cuda::DeviceBuffer;

constexpr int kFirstE4m3Capability = 89;
constexpr int64_t kE4m3Multiple = 16;  // of n and k, for cuBLASLt

struct Precision {
  std::string_view name;
  DType floats = DType::kF32;  // of all that is not quantized
  bool e4m3 = false;           // products of float weights are
};
constexpr std::array kPrecisions{Precision{"f32", DType::kF32}, Precision{"fp16", DType::kF16},
                                 Precision{"bf16", DType::kBF16},
                                 Precision{"fp8", DType::kF16, true}};

std::string_view name_of(DType type) {
  if (type == DType::kF8E4M3) return "fp8";
  for (const Precision& known : kPrecisions) {
    if (known.floats == type) return known.name;
  }
  return "int8";
}

// Rather than f32, the stream of an int8 model is fp16: its values have been quantized anyway.
const Precision& choose_precision(const std::string& option, bool int8,
                                  const cuda::DeviceProperties& device) {
  const Setting setting = option_or_variable("precision", option, "TWOFOUR_PRECISION");
  if (setting.value.empty()) return kPrecisions[int8 ? 1 : 0];
  for (const Precision& known : kPrecisions) {
    if (known.name != setting.value) continue;
    if (known.e4m3 && int8) {
      throw Error(setting.where, "fp8 is for products of float weights, the model's are int8",
                  "Choose the precision between them: f32, fp16, bf16");
    }
    if (known.e4m3 && device.capability() < kFirstE4m3Capability) {
      throw Error(setting.where,
                  fmt::format("{} has compute capability {}.{}, fp8 needs 8.9 or later",
                              device.name, device.major, device.minor),
                  "Choose fp16 or bf16");
    }
    return known;
  }
  throw Error(setting.where, fmt::format("no precision is named '{}'", setting.value),
              "There are: f32, fp16, bf16, fp8");
}

void check_attention(const std::string& option, const Precision& precision) {
  const Setting setting = option_or_variable("attention", option, "TWOFOUR_ATTENTION");
  if (setting.value.empty() || setting.value == name_of(precision.floats)) return;
  throw Error(setting.where,
              fmt::format("attention in '{}' beside precision '{}'", setting.value, precision.name),
              "On a GPU attention has the precision of the other floats");
}

void check_activation_scales(const std::string& option) {
  const Setting setting =
      option_or_variable("activation_scales", option, "TWOFOUR_ACTIVATION_SCALES");
  if (setting.value.empty() || setting.value == "static") return;
  throw Error(setting.where, fmt::format("activation scales '{}' on a GPU", setting.value),
              "On a GPU they are static");
}

// Dense ones can be forced: the names of DeviceLinear::kernel().
constexpr std::array<std::string_view, 5> kDenseKernels{
    "matmul_s8_cublaslt", "matmul_f16_cublaslt", "matmul_bf16_cublaslt", "matmul_f32_cublaslt",
    "matmul_e4m3_cublaslt"};

std::string choose_forced(const std::string& option) {
  const Setting setting = option_or_variable("force_kernel", option, "TWOFOUR_FORCE_KERNEL");
  if (setting.value.empty() ||
      std::find(kDenseKernels.begin(), kDenseKernels.end(), setting.value) != kDenseKernels.end())
    return std::string(setting.value);
  throw Error(setting.where,
              fmt::format("no kernel that can be forced on a GPU is named '{}'", setting.value),
              fmt::format("There are: {}", fmt::join(kDenseKernels, ", ")));
}

class DevicePlanner {
 public:
  DevicePlanner(const Network& network, const ModelDirectory& model, const EngineOptions& options,
                std::shared_ptr<cuda::Device> device)
      : network_(network),
        model_(model),
        device_(*device),
        guard_(device->runtime(), device->ordinal()),
        stream_(device->runtime()),
        forced_(choose_forced(options.force_kernel)) {
    plan_.device = std::move(device);
    plan_.values.resize(network.values.size());
    make_steps();
    const bool int8 = std::any_of(plan_.steps.begin(), plan_.steps.end(),
                                  [](const DeviceStep& step) { return step.int8; });
    const Precision& precision = choose_precision(options.precision, int8, device_.properties());
    plan_.float_type = precision.floats;
    if (precision.e4m3) use_e4m3();
    check_attention(options.attention, precision);
    check_activation_scales(options.activation_scales);
    check_static_activations(model);
    plan_.options = {.force_kernel = forced_,
                     .attention = std::string(name_of(plan_.float_type)),
                     .precision = std::string(precision.name),
                     .activation_scales = "static",
                     .device = device_.name(),
                     .backend = std::string(kOwnBackend)};
  }

  DevicePlan make() {
    for (size_t i = 0; i < plan_.steps.size(); ++i) load(plan_.steps[i]);
    for (DeviceStep& step : plan_.steps) step.producer = producer_of(step);
    assign_slots();
    return std::move(plan_);
  }

 private:
  [[noreturn]] void fail(const Op& op, const std::string& reason) const {
    throw Error(model_.origin(), fmt::format("'{}' does not run on a GPU: {}", op.name, reason),
                "Run on the device cpu");
  }

  const Value& described(ValueId value) const { return network_.values[value]; }
  int64_t rows_width(const DeviceStep& step) const { return described(step.output).width; }

  void make_steps() {
    FusedNetwork fused = fuse(network_, model_);
    for (size_t i = 0; i < fused.scales.size(); ++i) plan_.values[i].scale = fused.scales[i];
    for (FusedStep& step : fused.steps) {
      if (!plan_.steps.empty() && fuse_norm(plan_.steps.back(), step)) continue;
      DeviceStep made;
      static_cast<FusedStep&>(made) = std::move(step);
      plan_.steps.push_back(std::move(made));
    }
    for (const DeviceStep& step : plan_.steps) {
      steps_.push_back(&step);
      check(step);
    }
  }

  // Numbers of E4M3 need no scale: its exponents span what LayerNorms and activations give.
  void use_e4m3() {
    plan_.quantized_type = DType::kF8E4M3;
    for (DeviceStep& step : plan_.steps) {
      if (!takes_e4m3(step)) continue;
      step.e4m3 = step.int8 = true;
      plan_.values[step.input].scale = 1;
    }
  }

  bool takes_e4m3(const DeviceStep& step) const {
    if (step.op->kind != OpKind::kLinear || !step.op->prunable) return false;
    int64_t n = 0;
    for (const Op* part : step.parts) n += described(part->output).width;
    const int64_t k = described(step.input).width;
    return !is_head(step, n, k) && n % kE4m3Multiple == 0 && k % kE4m3Multiple == 0;
  }

  // The LayerNorm of the embeddings; nothing else may read their sum.
  bool fuse_norm(DeviceStep& embedding, const FusedStep& next) const {
    if (embedding.op->kind != OpKind::kEmbedding || next.op->kind != OpKind::kLayerNorm ||
        next.residual != kNoValue || next.input != embedding.op->output ||
        embedding.norm != nullptr)
      return false;
    embedding.norm = next.op;
    embedding.output = next.output;
    return true;
  }

  // What the kernels take.
  void check(const DeviceStep& step) const {
    const Op& op = *step.op;
    const int64_t width = rows_width(step);
    const bool quantized = plan_.values[step.output].scale != 0;
    switch (op.kind) {
      case OpKind::kEmbedding:
        if (step.norm == nullptr) fail(op, "no LayerNorm follows");
        return check_norm(op, width);
      case OpKind::kLayerNorm:
        return check_norm(op, width);
      case OpKind::kAttention:
        if (op.head_dim > cuda::kMaximumHeadDim)
          fail(op, fmt::format("heads of {} exceed {}", op.head_dim, cuda::kMaximumHeadDim));
        return;
      case OpKind::kActivation:
      case OpKind::kAdd:
        fail(op, "it could not be fused");
      case OpKind::kPool:
      case OpKind::kNormalize:
        if (quantized) fail(op, "its result is quantized");
        return;
      case OpKind::kLinear:
        return;
    }
  }

  void check_norm(const Op& op, int64_t width) const {
    if (width % cuda::kNormWidth == 0 && width <= cuda::kMaximumNormWidth) return;
    fail(op, fmt::format("the width is {}, expected a multiple of {}, {} at most", width,
                         cuda::kNormWidth, cuda::kMaximumNormWidth));
  }

  void load(DeviceStep& step) {
    if (step.op->kind == OpKind::kLinear) {
      load_linear(step);
      return;
    }
    const DType type = step.op->kind == OpKind::kEmbedding ? plan_.float_type : DType::kF32;
    load_parameters(step, *step.op, type);
    if (step.norm != nullptr) load_parameters(step, *step.norm, DType::kF32);
  }

  void load_parameters(DeviceStep& step, const Op& op, DType type) {
    for (size_t i = 0; i < op.parameters.size(); ++i) {
      const std::string& name = network_.parameter(op, i).name;
      const Tensor values = to_f32(model_.tensor(name), name);
      keep(step, values.as<float>(), type, name);
    }
  }

  void keep(DeviceStep& step, std::span<const float> values, DType type, const std::string& name) {
    step.parameters.push_back(cuda::upload_as(device_, values, type, stream_.handle(), name));
    plan_.packed_bytes += step.parameters.back().size();
  }

  // Layers that no library need take: of few rows, in f32 since they are the output, or of sizes
  // that libraries are slow with.
  bool is_head(const DeviceStep& step, int64_t n, int64_t k) const {
    const bool of_sequences = described(step.output).rows == Rows::kSequences;
    return !step.int8 &&
           (of_sequences || step.output == network_.output || n % 8 != 0 || k % 8 != 0);
  }

  void load_linear(DeviceStep& step) {
    const StackedLinear linear =
        twofour::load_linear(network_, model_, step.parts, MatmulType::kF32);
    const auto weight = linear.weight.as<const float>();
    if (is_head(step, linear.desc.n, linear.desc.k)) {
      if (plan_.values[step.output].scale != 0) fail(*step.op, "its result is quantized");
      keep(step, weight, DType::kF32, step.name());
      keep(step, linear.bias.as<const float>(), DType::kF32, step.name() + " bias");
    } else {
      if (step.int8 && linear.desc.n % cuda::kEpilogueWidth != 0)
        fail(*step.op, fmt::format("n is {}, expected a multiple of {}", linear.desc.n,
                                   cuda::kEpilogueWidth));
      step.linear = make_linear(step, linear);
    }
    describe(step, linear);
  }

  std::unique_ptr<cuda::DeviceLinear> make_linear(const DeviceStep& step,
                                                  const StackedLinear& linear) {
    const bool quantized = plan_.values[step.output].scale != 0;
    const bool relu = step.activation == ActivationKind::kRelu;
    cuda::DeviceLinearSpec spec;
    spec.name = step.name();
    spec.n = linear.desc.n;
    spec.k = linear.desc.k;
    spec.weights = step.e4m3 ? DType::kF8E4M3 : step.int8 ? DType::kI8 : plan_.float_type;
    spec.is_2_4 = linear.desc.sparse;
    spec.input_scale = step.int8 ? plan_.values[step.input].scale : 1;
    // The kernel behind it adds the bias where there is one anyway.
    spec.bias_in_product = !quantized && (!step.activation || relu) && norm_behind(step) == nullptr;
    const bool int8 = spec.weights == DType::kI8;
    spec.relu_in_product = spec.bias_in_product && relu && !int8;
    spec.results = plan_.float_type;
    spec.scale_in_product =
        int8 && plan_.float_type != DType::kF32 && !step.activation && !quantized;
    spec.force_dense = !forced_.empty() && forced_ == dense_kernel(spec.weights);
    auto made = std::make_unique<cuda::DeviceLinear>(
        device_, spec,
        cuda::DeviceLinearSource{linear.weight, linear.source().scales, linear.source().bias},
        stream_.handle());
    plan_.packed_bytes += made->bytes();
    return made;
  }

  static std::string_view dense_kernel(DType type) {
    return type == DType::kI8       ? kDenseKernels[0]
           : type == DType::kF16    ? kDenseKernels[1]
           : type == DType::kBF16   ? kDenseKernels[2]
           : type == DType::kF8E4M3 ? kDenseKernels[4]
                                    : kDenseKernels[3];
  }

  // The LayerNorm that alone reads the layer's result, and can take the product as it is.
  const DeviceStep* norm_behind(const DeviceStep& linear) const {
    if (linear.activation || linear.parts.size() != 1 || linear.output == network_.output)
      return nullptr;
    const DeviceStep* found = nullptr;
    for (const DeviceStep& step : plan_.steps) {
      const auto inputs = step.inputs();
      if (std::find(inputs.begin(), inputs.end(), linear.output) == inputs.end()) continue;
      const bool fits = step.op->kind == OpKind::kLayerNorm && step.input == linear.output &&
                        step.residual != linear.output;
      if (!fits || found != nullptr) return nullptr;
      found = &step;
    }
    return found;
  }

  const cuda::DeviceLinear* producer_of(const DeviceStep& norm) const {
    if (norm.op->kind != OpKind::kLayerNorm) return nullptr;
    for (const DeviceStep& step : plan_.steps) {
      if (step.linear && norm_behind(step) == &norm) return step.linear.get();
    }
    return nullptr;
  }

  void describe(const DeviceStep& step, const StackedLinear& linear) {
    LayerInfo info;
    info.name = step.name();
    info.n = linear.desc.n;
    info.k = linear.desc.k;
    if (step.linear == nullptr) {
      info.type = "f32";
      info.kernel = "head_f32_cuda";
      info.packed_bytes = step.parameters[0].size() + step.parameters[1].size();
    } else {
      info.type = name_of(step.linear->spec().weights);
      info.sparse = step.linear->sparse();
      info.kernel = step.linear->kernel();
      info.why_dense = step.linear->why_dense();
      info.packed_bytes = step.linear->bytes();
    }
    plan_.layers.push_back(std::move(info));
  }

  bool needs_epilogue(const DeviceStep& step) const {
    if (norm_behind(step) != nullptr) return false;
    return !step.linear->finished() || plan_.values[step.output].scale != 0 ||
           (step.activation && !step.linear->spec().relu_in_product);
  }

  // Type and width of a step's result as others read it.
  DType type_of(const DeviceStep& step) const {
    if (step.op->kind == OpKind::kNormalize) return DType::kF32;
    if (step.op->kind != OpKind::kLinear) return plan_.float_type;
    if (step.linear == nullptr) return DType::kF32;
    return norm_behind(step) != nullptr ? step.linear->product_type() : plan_.float_type;
  }

  void assign_slots() {
    const std::vector<size_t> last = last_uses(network_, steps_);
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      DeviceStep& step = plan_.steps[i];
      DeviceValue& value = plan_.values[step.output];
      const Value& about = described(step.output);
      if (read_as_float(network_, steps_, step.output)) assign_floats(step, last[step.output]);
      if (value.scale != 0) value.s8_slot = slots_.take(about.rows, about.width, last[step.output]);
      if (step.linear && needs_epilogue(step)) assign_product(step, i);
      slots_.release(i);
    }
    assign_output();
    plan_.slots = slots_.slots();
  }

  void assign_floats(const DeviceStep& step, size_t last_use) {
    const DType type = type_of(step);
    int64_t stride = 0;
    for (const Op* part : step.parts) stride += described(part->output).width;
    if (step.parts.empty()) stride = rows_width(step);
    const int slot = slots_.take(described(step.output).rows,
                                 stride * static_cast<int64_t>(dtype_bytes(type)), last_use);
    place(step.output, type, slot, 0, stride);
    int64_t column = 0;
    for (size_t i = 1; i < step.parts.size(); ++i) {
      column += described(step.parts[i - 1]->output).width;
      place(step.parts[i]->output, type, slot, column, stride);
    }
  }

  void place(ValueId value, DType type, int slot, int64_t column, int64_t stride) {
    DeviceValue& placed = plan_.values[value];
    placed.type = type;
    placed.slot = slot;
    placed.column = column;
    placed.stride = stride;
  }

  // The result's own slot where the type is the same.
  void assign_product(DeviceStep& step, size_t index) {
    const DeviceValue& value = plan_.values[step.output];
    const DType type = step.linear->product_type();
    step.product_slot =
        value.slot >= 0 && value.type == type
            ? value.slot
            : slots_.take(described(step.output).rows,
                          step.linear->spec().n * static_cast<int64_t>(dtype_bytes(type)), index);
  }

  void assign_output() {
    const DeviceValue& value = plan_.values[network_.output];
    const Value& about = described(network_.output);
    if (value.type == DType::kF32) {
      plan_.output_slot = value.slot;
      return;
    }
    plan_.output_slot =
        slots_.take(about.rows, about.width * int64_t{sizeof(float)}, plan_.steps.size());
  }

  const Network& network_;
  const ModelDirectory& model_;
  cuda::Device& device_;
  cuda::DeviceGuard guard_;
  cuda::Stream stream_;
  std::string forced_;
  DevicePlan plan_;
  std::vector<const FusedStep*> steps_;  // of plan_
  SlotPool slots_;
};

}  // namespace

void check_static_activations(const ModelDirectory& model) {
  if (!model.config().dynamic_activations) return;
  throw Error(model.origin(), "has dynamic activations, which a GPU does not quantize",
              "Run on the device cpu, or calibrate the float model");
}

std::span<const std::string_view> forcible_device_kernels() { return kDenseKernels; }

DevicePlan make_device_plan(const Network& network, const ModelDirectory& model,
                            const EngineOptions& options, std::shared_ptr<cuda::Device> device) {
  return DevicePlanner(network, model, options, std::move(device)).make();
}

}  // namespace twofour
