#include "twofour/runtime/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "twofour/backend/backends.h"
#include "twofour/backend/cuda/device.h"
#include "twofour/base/error.h"
#include "twofour/base/setting.h"
#include "twofour/runtime/stacked_linear.h"

namespace twofour {
namespace {

constexpr std::string_view kActivationScales[] = {"static", "asymmetric", "per_token"};

// Without scales in the file there is one choice.
std::string_view activation_scales_of(const ModelDirectory& model, const std::string& option) {
  const std::string_view chosen = choose_activation_scales(option);
  return model.config().dynamic_activations ? "per_token" : chosen;
}

// The least value that an activation has; nothing where it reaches as far below 0 as above.
std::optional<float> least_value(const Step& step) {
  const std::optional<ActivationKind> kind =
      step.op->kind == OpKind::kActivation ? step.op->activation : step.activation;
  if (!kind) return std::nullopt;
  switch (*kind) {
    case ActivationKind::kGelu:
    case ActivationKind::kGeluTanh:
      return -0.17005f;  // exact -0.16997, by tanh -0.17004
    case ActivationKind::kRelu:
      return 0.0f;
    case ActivationKind::kTanh:
      break;
  }
  return std::nullopt;
}

class Planner {
 public:
  Planner(const Network& network, const ModelDirectory& model, const EngineOptions& options)
      : network_(network),
        model_(model),
        forced_(forced_kernel(options.force_kernel)),
        float_type_(float_precision(options.precision)),
        activation_scales_(activation_scales_of(model, options.activation_scales)) {
    plan_.values.resize(network.values.size());
    plan_.attention = select_attention(options.attention);
    plan_.options = {
        .force_kernel = std::string(forced_ == nullptr ? "" : forced_->name()),
        .attention = std::string(plan_.attention.name),
        .precision = std::string(matmul_type_name(float_type_)),
        .activation_scales = std::string(activation_scales_),
        .device = "cpu",
        .backend = std::string(kOwnBackend),
    };
  }

  Plan make() {
    FusedNetwork fused = fuse(network_, model_);
    for (size_t i = 0; i < fused.scales.size(); ++i) plan_.values[i].scale = fused.scales[i];
    for (FusedStep& step : fused.steps) plan_.steps.push_back({std::move(step), nullptr, {}});
    for (const Step& step : plan_.steps) steps_.push_back(&step);
    if (activation_scales_ == "asymmetric") use_zero_points();
    for (Step& step : plan_.steps) load_parameters(step);
    assign_slots();
    return std::move(plan_);
  }

 private:
  bool per_token() const { return activation_scales_ == "per_token"; }

  // From the least value to the file's largest magnitude, in 254 steps; the value 0 stays one.
  void use_zero_points() {
    for (const Step& step : plan_.steps) {
      PlannedValue& value = plan_.values[step.output];
      const std::optional<float> least = least_value(step);
      if (!least || value.scale == 0) continue;
      const float largest = 127 * value.scale;
      if (largest <= -*least) continue;
      value.scale = (largest - *least) / 254;
      value.offset = std::nearbyint(-127 - *least / value.scale) * value.scale;
    }
  }

  // Products of quantized values take the input's offset along: out of the bias with it.
  static void take_offset_from_bias(StackedLinear& linear, float offset) {
    const int64_t n = linear.desc.n, k = linear.desc.k;
    const int8_t* weight = linear.weight.as<int8_t>().data();
    for (int64_t i = 0; i < n; ++i) {
      int64_t sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += weight[i * k + j];
      linear.bias.as<float>()[i] -= static_cast<float>(sum) * linear.scales.as<float>()[i] * offset;
    }
  }

  void load_parameters(Step& step) {
    const Op& op = *step.op;
    if (op.kind == OpKind::kLinear) {
      pack_linear(step);
      return;
    }
    for (size_t i = 0; i < op.parameters.size(); ++i) {
      const std::string& name = network_.parameter(op, i).name;
      step.parameters.push_back(to_f32(model_.tensor(name), name));
    }
  }

  void pack_linear(Step& step) {
    StackedLinear linear = load_linear(network_, model_, step.parts, float_type_);
    if (step.int8 && plan_.values[step.input].offset != 0)
      take_offset_from_bias(linear, plan_.values[step.input].offset);
    const Kernel& kernel = select_kernel(linear.desc, forced_);
    step.linear = std::make_unique<PackedLinear>(
        kernel, linear.desc, linear.source(), step.activation,
        per_token() && (step.int8 || plan_.values[step.output].scale != 0));
    describe(step);
  }

  void describe(const Step& step) {
    const PackedLinear& linear = *step.linear;
    LayerInfo info;
    info.name = step.name();
    info.n = linear.desc().n;
    info.k = linear.desc().k;
    info.type = matmul_type_name(linear.desc().type);
    info.sparse = linear.desc().sparse;
    info.share_rows = linear.weights().share_rows;
    info.kernel = linear.kernel().name();
    info.packed_bytes = linear.weights().bytes();
    plan_.packed_bytes += info.packed_bytes;
    plan_.layers.push_back(std::move(info));
  }

  void assign_slots() {
    const std::vector<size_t> last = last_uses(network_, steps_);
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      PlannedValue& value = plan_.values[step.output];
      const Value& described = network_.values[step.output];
      // Linear layers and attention can keep their floats to themselves; others write them first,
      // and attention does where a row's scale is known after its last head.
      const bool keeps_floats =
          step.op->kind == OpKind::kLinear || (step.op->kind == OpKind::kAttention && !per_token());
      if (!keeps_floats || read_as_float(network_, steps_, step.output))
        assign_floats(step, last[step.output]);
      if (value.scale != 0)
        value.s8_slot = slots_.take(described.rows, described.width, last[step.output]);
      if (value.scale != 0 && per_token())
        value.scales_slot = slots_.take(described.rows, sizeof(float), last[step.output]);
      slots_.release(i);
    }
    plan_.slots = slots_.slots();
  }

  void assign_floats(const Step& step, size_t last_use) {
    const Value& described = network_.values[step.output];
    const int64_t stride = step.linear ? step.linear->desc().n : described.width;
    const int slot = slots_.take(described.rows, stride * 4, last_use);
    plan_.values[step.output].f32_slot = slot;
    plan_.values[step.output].stride = stride;
    int64_t column = 0;
    for (size_t i = 1; i < step.parts.size(); ++i) {
      column += network_.values[step.parts[i - 1]->output].width;
      PlannedValue& part = plan_.values[step.parts[i]->output];
      part = {slot, column, stride};
    }
  }

  const Network& network_;
  const ModelDirectory& model_;
  const Kernel* forced_;
  MatmulType float_type_;
  std::string_view activation_scales_;
  Plan plan_;
  std::vector<const FusedStep*> steps_;  // of plan_
  SlotPool slots_;
};

}  // namespace

std::string_view choose_backend(const EngineOptions& options) {
  if (options.backend.empty() && options.device == "cpu") return kOwnBackend;
  const Setting setting = option_or_variable("backend", options.backend, "TWOFOUR_BACKEND");
  if (setting.value.empty()) return kOwnBackend;
  for (const std::string_view known : {kOwnBackend, kTensorRtBackend}) {
    if (known == setting.value) return known;
  }
  throw Error(setting.where, fmt::format("no backend is named '{}'", setting.value),
              fmt::format("There are: {}, {}", kOwnBackend, kTensorRtBackend));
}

int tensorrt_device(const EngineOptions& options) {
  const Setting device = option_or_variable("device", options.device, "TWOFOUR_DEVICE");
  if (device.value.empty()) return 0;
  if (device.value == "cpu") {
    throw Error(device.where, "the backend tensorrt runs on a GPU, the device is cpu",
                "Name cuda:0, or the backend twofour");
  }
  return cuda::device_ordinal(device.value, device.where);
}

std::string_view choose_activation_scales(const std::string& option) {
  const Setting setting =
      option_or_variable("activation_scales", option, "TWOFOUR_ACTIVATION_SCALES");
  if (setting.value.empty()) return kActivationScales[0];
  for (std::string_view known : kActivationScales) {
    if (known == setting.value) return known;
  }
  throw Error(setting.where, fmt::format("no activation scales are named '{}'", setting.value),
              fmt::format("There are: {}", fmt::join(kActivationScales, ", ")));
}

void check_complete(const Network& network, const ModelDirectory& model) {
  const std::vector<std::string> absent = check_parameters(network, model);
  if (!absent.empty()) {
    throw Error(model.origin(),
                fmt::format("the head's tensors are missing: {}", fmt::join(absent, ", ")),
                "Train the model first; training initializes its head");
  }
}

Plan make_plan(const Network& network, const ModelDirectory& model, const EngineOptions& options) {
  return Planner(network, model, options).make();
}

}  // namespace twofour
