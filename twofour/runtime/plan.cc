#include "twofour/runtime/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "twofour/backend/backends.h"
#include "twofour/base/error.h"
#include "twofour/runtime/stacked_linear.h"

namespace twofour {
namespace {

// Ops that read each value.
std::vector<std::vector<size_t>> find_readers(const Network& network) {
  std::vector<std::vector<size_t>> readers(network.values.size());
  for (size_t i = 0; i < network.ops.size(); ++i) {
    for (ValueId input : network.ops[i].inputs) readers[input].push_back(i);
  }
  return readers;
}

class Planner {
 public:
  Planner(const Network& network, const ModelDirectory& model, const EngineOptions& options)
      : network_(network),
        model_(model),
        forced_(forced_kernel(options.force_kernel)),
        float_type_(float_precision(options.precision)),
        readers_(find_readers(network)) {
    plan_.values.resize(network.values.size());
    plan_.attention = select_attention(options.attention);
    plan_.options = {std::string(forced_ == nullptr ? "" : forced_->name()),
                     plan_.attention == select_attention("f32") ? "f32" : "bf16",
                     std::string(matmul_type_name(float_type_))};
  }

  Plan make() {
    make_steps();
    for (const Step& step : plan_.steps) find_scale(step);
    for (Step& step : plan_.steps) load_parameters(step);
    assign_slots();
    return std::move(plan_);
  }

 private:
  // The op that may be fused behind `op`: its only reader, of the given kind.
  const Op* only_reader(const Op& op, OpKind kind) const {
    const auto& readers = readers_[op.output];
    if (readers.size() != 1 || op.output == network_.output) return nullptr;
    const Op& reader = network_.ops[readers[0]];
    return reader.kind == kind ? &reader : nullptr;
  }

  void make_steps() {
    std::vector<const Op*> fused;
    for (const Op& op : network_.ops) {
      if (std::find(fused.begin(), fused.end(), &op) != fused.end()) continue;
      Step step;
      step.op = &op;
      step.input = op.inputs.empty() ? kNoValue : op.inputs[0];
      step.output = op.output;
      if (op.kind == OpKind::kLinear) {
        step.int8 = is_int8(network_, model_, op);
        step.parts = stackable_with(op);
        fused.insert(fused.end(), step.parts.begin(), step.parts.end());
        if (const Op* activation = only_reader(op, OpKind::kActivation)) {
          step.output = activation->output;
          fused.push_back(activation);
        }
      } else if (op.kind == OpKind::kAdd) {
        if (const Op* norm = only_reader(op, OpKind::kLayerNorm)) {
          step.op = norm;
          step.residual = op.inputs[1];
          step.output = norm->output;
          fused.push_back(norm);
        }
      }
      plan_.steps.push_back(std::move(step));
    }
  }

  // Query, key and value of one attention, where they can be one product; the layer alone
  // elsewhere.
  std::vector<const Op*> stackable_with(const Op& linear) const {
    const Op* attention = only_reader(linear, OpKind::kAttention);
    if (attention == nullptr) return {&linear};
    std::vector<const Op*> parts;
    for (const Op& op : network_.ops) {
      if (op.kind == OpKind::kLinear && only_reader(op, OpKind::kAttention) == attention)
        parts.push_back(&op);
    }
    if (parts[0] != &linear || !can_stack(network_, model_, parts)) return {&linear};
    return parts;
  }

  float scalar(const std::string& name) const {
    return to_f32(model_.tensor(name), name).as<float>()[0];
  }

  // All int8 readers of a value share its quantized form.
  void find_scale(const Step& step) {
    if (!step.int8) return;
    PlannedValue& value = plan_.values[step.input];
    for (const Op* op : step.parts) {
      const std::string name = op->name + ".input_scale";
      const float scale = scalar(name);
      if (value.scale != 0 && value.scale != scale) {
        throw Error(model_.origin(),
                    fmt::format("tensor '{}' is {}, but another layer that reads '{}' has {}", name,
                                scale, network_.values[step.input].name, value.scale),
                    "Layers that read one value must have one input scale");
      }
      value.scale = scale;
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

  std::optional<ActivationKind> fused_activation(const Step& step) const {
    if (step.output == step.op->output) return std::nullopt;
    return network_.ops[readers_[step.op->output][0]].activation;
  }

  void pack_linear(Step& step) {
    const StackedLinear linear = load_linear(network_, model_, step.parts, float_type_);
    const Kernel& kernel = select_kernel(linear.desc, forced_);
    step.linear = std::make_unique<PackedLinear>(kernel, linear.desc, linear.source(),
                                                 fused_activation(step));
    describe(step);
  }

  // "layer.0.attention.query+key+value"
  static std::string name_of(const Step& step) {
    std::string name = step.op->name;
    for (size_t i = 1; i < step.parts.size(); ++i) {
      const std::string& part = step.parts[i]->name;
      name += "+" + part.substr(part.rfind('.') + 1);
    }
    return name;
  }

  void describe(const Step& step) {
    const PackedLinear& linear = *step.linear;
    LayerInfo info;
    info.name = name_of(step);
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

  // Last step that reads each value; the network's output lives to the end.
  std::vector<size_t> last_uses() const {
    std::vector<size_t> last(network_.values.size(), 0);
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      last[step.output] = std::max(last[step.output], i);
      for (ValueId input : inputs_of(step)) last[input] = i;
    }
    last[network_.output] = plan_.steps.size();
    return last;
  }

  std::vector<ValueId> inputs_of(const Step& step) const {
    if (step.op->kind == OpKind::kAttention || step.op->kind == OpKind::kAdd)
      return step.op->inputs;
    std::vector<ValueId> inputs;
    if (step.input != kNoValue) inputs.push_back(step.input);
    if (step.residual != kNoValue) inputs.push_back(step.residual);
    return inputs;
  }

  bool read_as_float(ValueId value) const {
    if (value == network_.output) return true;
    return std::any_of(plan_.steps.begin(), plan_.steps.end(), [&](const Step& step) {
      const auto inputs = inputs_of(step);
      return !step.int8 && std::find(inputs.begin(), inputs.end(), value) != inputs.end();
    });
  }

  void assign_slots() {
    const std::vector<size_t> last = last_uses();
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      PlannedValue& value = plan_.values[step.output];
      const Value& described = network_.values[step.output];
      // Linear layers and attention can keep their floats to themselves; others write them first.
      const bool keeps_floats =
          step.op->kind == OpKind::kLinear || step.op->kind == OpKind::kAttention;
      if (!keeps_floats || read_as_float(step.output)) assign_floats(step, last[step.output]);
      if (value.scale != 0)
        value.s8_slot = take_slot(described.rows, described.width, last[step.output]);
      for (size_t s = 0; s < busy_until_.size(); ++s) {
        if (busy_until_[s] <= i) free_[s] = true;
      }
    }
  }

  void assign_floats(const Step& step, size_t last_use) {
    const Value& described = network_.values[step.output];
    const int64_t stride = step.linear ? step.linear->desc().n : described.width;
    const int slot = take_slot(described.rows, stride * 4, last_use);
    plan_.values[step.output].f32_slot = slot;
    plan_.values[step.output].stride = stride;
    int64_t column = 0;
    for (size_t i = 1; i < step.parts.size(); ++i) {
      column += network_.values[step.parts[i - 1]->output].width;
      PlannedValue& part = plan_.values[step.parts[i]->output];
      part = {slot, column, stride};
    }
  }

  int take_slot(Rows rows, int64_t row_bytes, size_t last_use) {
    for (size_t s = 0; s < plan_.slots.size(); ++s) {
      const Slot& slot = plan_.slots[s];
      if (!free_[s] || slot.rows != rows || slot.row_bytes != row_bytes) continue;
      free_[s] = false;
      busy_until_[s] = last_use;
      return static_cast<int>(s);
    }
    plan_.slots.push_back({rows, row_bytes});
    free_.push_back(false);
    busy_until_.push_back(last_use);
    return static_cast<int>(plan_.slots.size()) - 1;
  }

  const Network& network_;
  const ModelDirectory& model_;
  const Kernel* forced_;
  MatmulType float_type_;
  std::vector<std::vector<size_t>> readers_;
  Plan plan_;
  std::vector<bool> free_;
  std::vector<size_t> busy_until_;
};

}  // namespace

Plan make_plan(const Network& network, const ModelDirectory& model, const EngineOptions& options) {
  const std::vector<std::string> absent = check_parameters(network, model);
  if (!absent.empty()) {
    throw Error(model.origin(),
                fmt::format("the head's tensors are missing: {}", fmt::join(absent, ", ")),
                "Train the model first; training initializes its head");
  }
  return Planner(network, model, options).make();
}

}  // namespace twofour
