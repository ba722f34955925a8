// The network once more, op by op in double: an independent simulation of what training computes.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <vector>

#include "twofour/runtime/test_models.h"

namespace twofour {

class SlowNetwork {
 public:
  using Rows2d = std::vector<std::vector<double>>;

  // `activation_scales` as in EngineOptions.
  SlowNetwork(const Network& network, const ModelDirectory& model,
              const std::string& activation_scales = "static")
      : network_(network), model_(model), activation_scales_(activation_scales) {}

  // Values of one sequence; quantized values are those of the points.
  std::map<std::string, std::vector<int8_t>> quantized;

  Rows2d run(std::span<const int32_t> ids, std::span<const int32_t> type_ids) {
    values_.assign(network_.values.size(), {});
    for (const Op& op : network_.ops) {
      values_[op.output] = compute(op, ids, type_ids);
      const Value& value = network_.values[op.output];
      if (value.quant_point >= 0 && scale_of(op.output) > 0) {
        for (const auto& row : values_[op.output]) {
          const Grid grid = grid_of(row, op.output);
          for (double x : row)
            quantized[value.name].push_back(
                quantize_value(static_cast<float>(x + grid.offset), grid.scale));
        }
      }
    }
    return values_[network_.output];
  }

 private:
  using Row = std::vector<double>;

  Rows2d compute(const Op& op, std::span<const int32_t> ids,
                 std::span<const int32_t> type_ids) const {
    switch (op.kind) {
      case OpKind::kEmbedding:
        return embed(op, ids, type_ids);
      case OpKind::kLinear:
        return multiply(op);
      case OpKind::kAttention:
        return attend(op);
      case OpKind::kLayerNorm:
        return per_row(op, [&](Row& row) { normalize_layer(op, row); });
      case OpKind::kActivation:
        return per_row(op, [&](Row& row) {
          for (double& x : row) x = activate(op.activation, x);
        });
      case OpKind::kAdd: {
        Rows2d out = values_[op.inputs[0]];
        for (size_t i = 0; i < out.size(); ++i) {
          for (size_t j = 0; j < out[i].size(); ++j) out[i][j] += values_[op.inputs[1]][i][j];
        }
        return out;
      }
      case OpKind::kPool:
        return {pool(op)};
      case OpKind::kNormalize:
        return per_row(op, [](Row& row) {
          double squares = 0;
          for (double x : row) squares += x * x;
          for (double& x : row) x /= std::sqrt(squares);
        });
    }
    return {};
  }

  std::vector<float> floats(const Op& op, size_t index) const {
    const std::string& name = network_.parameter(op, index).name;
    const Tensor tensor = to_f32(model_.tensor(name), name);
    return {tensor.as<float>().begin(), tensor.as<float>().end()};
  }

  Rows2d per_row(const Op& op, const std::function<void(Row&)>& change) const {
    Rows2d out = values_[op.inputs[0]];
    for (Row& row : out) change(row);
    return out;
  }

  Rows2d embed(const Op& op, std::span<const int32_t> ids,
               std::span<const int32_t> type_ids) const {
    const auto word = floats(op, 0), position = floats(op, 1), type = floats(op, 2);
    const size_t width = network_.values[op.output].width;
    Rows2d out(ids.size(), Row(width));
    for (size_t t = 0; t < ids.size(); ++t) {
      for (size_t j = 0; j < width; ++j) {
        out[t][j] = double{word[ids[t] * width + j]} + type[type_ids[t] * width + j] +
                    position[t * width + j];
      }
    }
    return out;
  }

  float scale_of(ValueId value) const {
    for (const Op& op : network_.ops) {
      if (op.kind != OpKind::kLinear || op.inputs[0] != value) continue;
      // No scale is in the file: any number says that the value is quantized.
      const DType type = model_.tensor(network_.parameter(op, 0).name).dtype;
      if (model_.config().dynamic_activations && type == DType::kI8) return 1;
      const std::string name = op.name + ".input_scale";
      if (model_.contains(name)) return to_f32(model_.tensor(name), name).as<float>()[0];
    }
    return 0;
  }

  struct Grid {
    float scale = 0, offset = 0;
  };

  Grid grid_of(const Row& row, ValueId value) const {
    const float file_scale = scale_of(value);
    if (activation_scales_ == "per_token") {
      double amax = 0;
      for (double x : row) amax = std::max(amax, std::fabs(x));
      return {scale_from_amax(static_cast<float>(amax)), 0};
    }
    const float depth = depth_below_zero(value), amax = 127 * file_scale;
    if (activation_scales_ == "asymmetric" && depth < amax) {
      const float scale = (amax + depth) / 254;
      return {scale, std::round(-127 + depth / scale) * scale};
    }
    return {file_scale, 0};
  }

  // How far a value reaches below 0; infinity: as far as above.
  float depth_below_zero(ValueId value) const {
    for (const Op& op : network_.ops) {
      if (op.output != value || op.kind != OpKind::kActivation) continue;
      if (op.activation == ActivationKind::kRelu) return 0;
      if (op.activation != ActivationKind::kTanh) return 0.17005f;
    }
    return std::numeric_limits<float>::infinity();
  }

  // Dequantized weights times dequantized inputs: what fake quantization computes.
  Rows2d multiply(const Op& op) const {
    const Parameter& parameter = network_.parameter(op, 0);
    const TensorView weight = model_.tensor(parameter.name);
    const auto bias = floats(op, 1);
    const bool int8 = weight.dtype == DType::kI8;
    const Tensor w =
        int8 ? dequantize_weight({Tensor(weight), Tensor(model_.tensor(parameter.name + "_scale"))})
             : to_f32(weight, parameter.name);
    const int64_t n = parameter.shape[0], k = parameter.shape[1];
    Rows2d out;
    for (Row x : values_[op.inputs[0]]) {
      if (int8) {
        const Grid grid = grid_of(x, op.inputs[0]);
        for (double& v : x) {
          const double q = quantize_value(static_cast<float>(v + grid.offset), grid.scale);
          v = q * grid.scale - grid.offset;
        }
      }
      Row row(bias.begin(), bias.end());
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < k; ++j) row[i] += x[j] * w.as<float>()[i * k + j];
      }
      out.push_back(std::move(row));
    }
    return out;
  }

  Rows2d attend(const Op& op) const {
    const Rows2d &q = values_[op.inputs[0]], &k = values_[op.inputs[1]], &v = values_[op.inputs[2]];
    Rows2d out(q.size(), Row(network_.values[op.output].width));
    for (int64_t head = 0; head < op.heads; ++head) {
      const int64_t begin = head * op.head_dim, end = begin + op.head_dim;
      for (size_t i = 0; i < q.size(); ++i) {
        Row p(q.size());
        double total = 0;
        for (size_t j = 0; j < q.size(); ++j) {
          double score = 0;
          for (int64_t d = begin; d < end; ++d) score += q[i][d] * k[j][d];
          total += p[j] = std::exp(score / std::sqrt(static_cast<double>(op.head_dim)));
        }
        for (size_t j = 0; j < q.size(); ++j) {
          for (int64_t d = begin; d < end; ++d) out[i][d] += p[j] / total * v[j][d];
        }
      }
    }
    return out;
  }

  void normalize_layer(const Op& op, Row& row) const {
    const auto gamma = floats(op, 0), beta = floats(op, 1);
    const auto width = static_cast<double>(row.size());
    double mean = 0, variance = 0;
    for (double x : row) mean += x / width;
    for (double x : row) variance += (x - mean) * (x - mean) / width;
    for (size_t j = 0; j < row.size(); ++j) {
      row[j] = (row[j] - mean) / std::sqrt(variance + op.epsilon) * gamma[j] + beta[j];
    }
  }

  static double activate(ActivationKind kind, double x) {
    switch (kind) {
      case ActivationKind::kGelu:
        return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
      case ActivationKind::kGeluTanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case ActivationKind::kRelu:
        return std::max(x, 0.0);
      case ActivationKind::kTanh:
        return std::tanh(x);
    }
    return 0;
  }

  Row pool(const Op& op) const {
    const Rows2d& x = values_[op.inputs[0]];
    Row out = x[0];
    for (size_t t = 1; t < x.size() && op.pooling != Pooling::kCls; ++t) {
      for (size_t j = 0; j < out.size(); ++j) {
        out[j] = op.pooling == Pooling::kMax ? std::max(out[j], x[t][j]) : out[j] + x[t][j];
      }
    }
    if (op.pooling == Pooling::kMean) {
      for (double& v : out) v /= static_cast<double>(x.size());
    }
    return out;
  }

  const Network& network_;
  const ModelDirectory& model_;
  std::string activation_scales_;
  std::vector<Rows2d> values_;
};

}  // namespace twofour
