#include "twofour/runtime/fused_steps.h"

#include <fmt/format.h>

#include <algorithm>

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

class Fuser {
 public:
  Fuser(const Network& network, const ModelDirectory& model)
      : network_(network), model_(model), readers_(find_readers(network)) {}

  FusedNetwork fuse() {
    make_steps();
    fused_.scales.resize(network_.values.size());
    for (const FusedStep& step : fused_.steps) find_scale(step);
    return std::move(fused_);
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
      FusedStep step;
      step.op = &op;
      step.input = op.inputs.empty() ? kNoValue : op.inputs[0];
      step.output = op.output;
      if (op.kind == OpKind::kLinear) {
        step.int8 = is_int8(network_, model_, op);
        step.parts = stackable_with(op);
        fused.insert(fused.end(), step.parts.begin(), step.parts.end());
        if (const Op* activation = only_reader(op, OpKind::kActivation)) {
          step.activation = activation->activation;
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
      fused_.steps.push_back(std::move(step));
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

  // All int8 readers of a value share its quantized form.
  void find_scale(const FusedStep& step) {
    if (!step.int8) return;
    float& known = fused_.scales[step.input];
    if (model_.config().dynamic_activations) {
      known = 1;
      return;
    }
    for (const Op* op : step.parts) {
      const std::string name = op->name + ".input_scale";
      const float scale = to_f32(model_.tensor(name), name).as<float>()[0];
      if (known != 0 && known != scale) {
        throw Error(model_.origin(),
                    fmt::format("tensor '{}' is {}, but another layer that reads '{}' has {}", name,
                                scale, network_.values[step.input].name, known),
                    "Layers that read one value must have one input scale");
      }
      known = scale;
    }
  }

  const Network& network_;
  const ModelDirectory& model_;
  std::vector<std::vector<size_t>> readers_;
  FusedNetwork fused_;
};

}  // namespace

std::vector<ValueId> FusedStep::inputs() const {
  if (op->kind == OpKind::kAttention || op->kind == OpKind::kAdd) return op->inputs;
  std::vector<ValueId> inputs;
  if (input != kNoValue) inputs.push_back(input);
  if (residual != kNoValue) inputs.push_back(residual);
  return inputs;
}

std::string FusedStep::name() const {
  std::string name = op->name;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string& part = parts[i]->name;
    name += "+" + part.substr(part.rfind('.') + 1);
  }
  return name;
}

FusedNetwork fuse(const Network& network, const ModelDirectory& model) {
  return Fuser(network, model).fuse();
}

std::vector<size_t> last_uses(const Network& network, const std::vector<const FusedStep*>& steps) {
  std::vector<size_t> last(network.values.size(), 0);
  for (size_t i = 0; i < steps.size(); ++i) {
    last[steps[i]->output] = std::max(last[steps[i]->output], i);
    for (ValueId input : steps[i]->inputs()) last[input] = i;
  }
  last[network.output] = steps.size();
  return last;
}

bool read_as_float(const Network& network, const std::vector<const FusedStep*>& steps,
                   ValueId value) {
  if (value == network.output) return true;
  return std::any_of(steps.begin(), steps.end(), [&](const FusedStep* step) {
    const auto inputs = step->inputs();
    return !step->int8 && std::find(inputs.begin(), inputs.end(), value) != inputs.end();
  });
}

int SlotPool::take(Rows rows, int64_t row_bytes, size_t last_use) {
  for (size_t s = 0; s < slots_.size(); ++s) {
    const Slot& slot = slots_[s];
    if (!free_[s] || slot.rows != rows || slot.row_bytes != row_bytes) continue;
    free_[s] = false;
    busy_until_[s] = last_use;
    return static_cast<int>(s);
  }
  slots_.push_back({rows, row_bytes});
  free_.push_back(false);
  busy_until_.push_back(last_use);
  return static_cast<int>(slots_.size()) - 1;
}

void SlotPool::release(size_t step) {
  for (size_t s = 0; s < busy_until_.size(); ++s) {
    if (busy_until_[s] <= step) free_[s] = true;
  }
}

}  // namespace twofour
