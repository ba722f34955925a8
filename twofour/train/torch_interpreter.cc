#include "twofour/train/torch_interpreter.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "twofour/base/error.h"
#include "twofour/train/dropout.h"
#include "twofour/train/torch_tensors.h"

namespace twofour {
namespace {

constexpr double kInitialDeviation = 0.02;

at::Tensor load_parameter(const ModelDirectory& model, const std::string& name) {
  const TensorView view = model.tensor(name);
  if (view.dtype != DType::kI8) return to_torch(to_f32(view, name));
  return to_torch(view).to(at::kFloat) * to_torch(model.tensor(name + "_scale"));
}

at::Tensor draw_parameter(const Parameter& parameter, at::Generator& generator) {
  const std::vector<int64_t>& dims = parameter.shape.dims();
  if (dims.size() < 2) return at::zeros(dims);
  return at::normal(0, kInitialDeviation, dims, generator);
}

at::Tensor activate(const at::Tensor& x, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kGelu:
      return at::gelu(x);
    case ActivationKind::kGeluTanh:
      return at::gelu(x, "tanh");
    case ActivationKind::kRelu:
      return at::relu(x);
    case ActivationKind::kTanh:
      return at::tanh(x);
  }
  throw Error("TorchInterpreter", "unknown activation");
}

at::Tensor pool(const at::Tensor& x, const TokenTensors& tokens, Pooling pooling) {
  const at::Tensor valid = tokens.valid.unsqueeze(-1);
  switch (pooling) {
    case Pooling::kCls:
      return x.select(1, 0);
    case Pooling::kMean:
      return (x * valid.to(x.scalar_type())).sum(1) / tokens.lengths.unsqueeze(-1);
    case Pooling::kMax:
      return std::get<0>(
          x.masked_fill(valid.logical_not(), -std::numeric_limits<float>::infinity()).max(1));
  }
  throw Error("TorchInterpreter", "unknown pooling");
}

at::Tensor normalize(const at::Tensor& x) { return x / x.norm(2, -1, true).clamp_min(1e-12); }

// One forward pass: the values that are alive, and what the products read of them.
class Pass {
 public:
  Pass(const Network& network, const ParameterMap& parameters, const TokenTensors& tokens,
       const ForwardOptions& options)
      : network_(network),
        parameters_(parameters),
        tokens_(tokens),
        options_(options),
        product_type_(options.bf16 ? at::kBFloat16 : at::kFloat),
        values_(network.values.size()),
        product_inputs_(network.values.size()),
        uses_(network.values.size(), 0) {
    if (tokens.lengths.min().item<int64_t>() < tokens.ids.size(1)) {
      attention_mask_ = tokens.valid.unsqueeze(1).unsqueeze(1);
      padded_keys_ = attention_mask_->logical_not();
    }
    count_uses();
  }

  ForwardResult run() {
    for (const Op& op : network_.ops) {
      values_[op.output] = execute(op);
      for (const ValueId input : op.inputs) release(input);
    }
    ForwardResult result;
    result.output = values_[network_.output];
    if (options_.hidden_states) {
      for (const ValueId value : network_.hidden_states)
        result.hidden_states.push_back(values_[value]);
    }
    if (options_.last_attention) {
      result.q = values_[network_.last_q];
      result.k = values_[network_.last_k];
      result.v = values_[network_.last_v];
    }
    return result;
  }

 private:
  // A result counts as a use that never ends.
  void count_uses() {
    for (const Op& op : network_.ops) {
      for (const ValueId input : op.inputs) ++uses_[input];
    }
    ++uses_[network_.output];
    if (options_.hidden_states) {
      for (const ValueId value : network_.hidden_states) ++uses_[value];
    }
    if (options_.last_attention) {
      for (const ValueId value : {network_.last_q, network_.last_k, network_.last_v})
        ++uses_[value];
    }
  }

  void release(ValueId value) {
    if (--uses_[value] > 0) return;
    values_[value].reset();
    product_inputs_[value].reset();
  }

  at::Tensor execute(const Op& op) {
    if (op.kind == OpKind::kAttention) return attention(op);
    const at::Tensor y = compute(op);
    const double p = dropout(op);
    return p > 0 ? apply_dropout(y, p) : y;
  }

  at::Tensor compute(const Op& op) {
    switch (op.kind) {
      case OpKind::kEmbedding:
        return embedding(op);
      case OpKind::kLinear:
        return linear(op);
      case OpKind::kLayerNorm:
        return at::layer_norm(input(op), {input(op).size(-1)}, parameter(op, 0), parameter(op, 1),
                              op.epsilon);
      case OpKind::kActivation:
        return activate(input(op), op.activation);
      case OpKind::kAdd:
        return input(op, 0) + input(op, 1);
      case OpKind::kPool:
        return pool(input(op), tokens_, op.pooling);
      case OpKind::kNormalize:
        return normalize(input(op));
      case OpKind::kAttention:
        break;
    }
    throw Error("TorchInterpreter", fmt::format("cannot execute {}", op.name));
  }

  at::Tensor embedding(const Op& op) const {
    const at::Tensor positions = at::arange(tokens_.ids.size(1), tokens_.ids.options());
    return at::embedding(parameter(op, 0), tokens_.ids) +
           at::embedding(parameter(op, 1), positions) +
           at::embedding(parameter(op, 2), tokens_.type_ids);
  }

  // Layers outside the encoder stay f32 where they see one row a sequence: not worth bf16.
  at::Tensor linear(const Op& op) {
    if (!op.prunable) {
      const at::ScalarType type =
          network_.values[op.output].rows == Rows::kTokens ? product_type_ : at::kFloat;
      return at::linear(input(op).to(type), parameter(op, 0).to(type), parameter(op, 1).to(type))
          .to(at::kFloat);
    }
    const at::Tensor weight = options_.hook ? options_.hook->weight(network_.parameter(op, 0).name,
                                                                    parameter(op, 0), product_type_)
                                            : parameter(op, 0).to(product_type_);
    return at::linear(product_input(op.inputs[0]), weight, parameter(op, 1).to(product_type_));
  }

  // Made once a value, however many layers read it.
  const at::Tensor& product_input(ValueId value) {
    at::Tensor& result = product_inputs_[value];
    if (result.defined()) return result;
    const int32_t point = network_.values[value].quant_point;
    result = options_.hook && point >= 0
                 ? options_.hook->activation(point, values_[value], tokens_.valid, product_type_)
                 : values_[value].to(product_type_);
    return result;
  }

  at::Tensor attention(const Op& op) const {
    const auto heads = [&](size_t i) {
      const at::Tensor& x = input(op, i);
      return x.view({x.size(0), x.size(1), op.heads, op.head_dim}).transpose(1, 2);
    };
    const double p = dropout(op);
    const at::Tensor y =
        p > 0 ? attention_with_dropout(heads(0), heads(1), heads(2), p)
              : at::scaled_dot_product_attention(heads(0), heads(1), heads(2), attention_mask_);
    return y.transpose(1, 2).flatten(2);
  }

  // LibTorch's own would fall back to this too, with a slower dropout and a check for rows without
  // any key.
  at::Tensor attention_with_dropout(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                    double p) const {
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
    at::Tensor scores = at::matmul(q * scale, k.transpose(-2, -1));
    if (padded_keys_) scores.masked_fill_(*padded_keys_, -std::numeric_limits<float>::infinity());
    return at::matmul(apply_dropout(scores.softmax(-1), p), v);
  }

  double dropout(const Op& op) const {
    if (!options_.training || op.dropout <= 0) return 0;
    return options_.dropout >= 0 ? options_.dropout : op.dropout;
  }

  const at::Tensor& input(const Op& op, size_t index = 0) const {
    return values_[op.inputs[index]];
  }

  const at::Tensor& parameter(const Op& op, size_t index) const {
    const std::string& name = network_.parameter(op, index).name;
    const auto found = parameters_.find(name);
    if (found == parameters_.end())
      throw Error("TorchInterpreter", fmt::format("parameter {} is missing", name));
    return found->second;
  }

  const Network& network_;
  const ParameterMap& parameters_;
  const TokenTensors& tokens_;
  const ForwardOptions& options_;
  const at::ScalarType product_type_;
  std::optional<at::Tensor> attention_mask_,
      padded_keys_;  // [batch, 1, 1, seq]; none without padding
  std::vector<at::Tensor> values_, product_inputs_;
  std::vector<int> uses_;
};

}  // namespace

ParameterMap load_parameters(const Network& network, const ModelDirectory& model, uint64_t seed) {
  const std::vector<std::string> missing = check_parameters(network, model);
  at::Generator generator = at::detail::createCPUGenerator(seed);
  ParameterMap parameters;
  for (const Parameter& parameter : network.parameters) {
    const bool draw = std::find(missing.begin(), missing.end(), parameter.name) != missing.end();
    at::Tensor value =
        draw ? draw_parameter(parameter, generator) : load_parameter(model, parameter.name);
    parameters[parameter.name] = value.requires_grad_(true);
  }
  return parameters;
}

at::Tensor to_device(const at::Tensor& tensor, at::Device device) {
  return tensor.defined() ? tensor.to(device) : tensor;
}

ParameterMap to_device(const ParameterMap& parameters, at::Device device) {
  ParameterMap moved;
  for (const auto& [name, tensor] : parameters)
    moved[name] = tensor.detach().to(device).requires_grad_(tensor.requires_grad());
  return moved;
}

TokenTensors to_device(const TokenTensors& tokens, at::Device device) {
  return {tokens.ids.to(device), tokens.type_ids.to(device), tokens.lengths.to(device),
          tokens.valid.to(device)};
}

at::Device device_of(const ParameterMap& parameters) {
  return parameters.empty() ? at::Device(at::kCPU) : parameters.begin()->second.device();
}

TorchInterpreter::TorchInterpreter(const Network& network, const ParameterMap& parameters)
    : network_(network), parameters_(parameters) {}

ForwardResult TorchInterpreter::forward(const TokenTensors& tokens,
                                        const ForwardOptions& options) const {
  return Pass(network_, parameters_, tokens, options).run();
}

}  // namespace twofour
