// Simulated int8 in training: quantize-dequantize with the clipped straight-through estimator, and
// calibration.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "twofour/quant/calibrator.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// x^ = clamp(round_half_even(x / s), -qmax, qmax) * s; dL/dx = dL/dx^ * 1[|x| <= s * qmax].
// Computed in f32 whatever the autocast state, then stored as `type` (f32 or bf16): products that
// want bf16 need no cast of their own. `x` is f32 or bf16. In f32 bit-identical to
// quant/quantize.h. NaN stays NaN. Throws Error unless the scale is a normal number > 0.
at::Tensor fake_quantize(const at::Tensor& x, float scale, int bits = 8,
                         at::ScalarType type = at::kFloat);

// The same for a weight f32 [n, k] with scales from the rows' own largest magnitudes, as
// quantize_weight has them. Nothing is ever clipped by such a scale, so the gradient passes whole.
at::Tensor fake_quantize_weight(const at::Tensor& w, int bits = 8,
                                at::ScalarType type = at::kFloat);

// Observes activations at quantization points into histograms (padding left out).
class CalibrationHook : public TensorHook {
 public:
  explicit CalibrationHook(size_t quant_points);
  at::Tensor activation(int32_t quant_point, const at::Tensor& x, const at::Tensor& valid,
                        at::ScalarType type) override;
  at::Tensor weight(const std::string& name, const at::Tensor& w, at::ScalarType type) override;

  // By quantization point.
  std::vector<Histogram>& histograms() { return histograms_; }

 private:
  std::vector<Histogram> histograms_;
};

// Static scales for int8 activations, per-channel scales from the current weights.
class FakeQuantizeHook : public TensorHook {
 public:
  // By quantization point; as scale_from_amax has them.
  explicit FakeQuantizeHook(std::vector<float> activation_scales, int weight_bits = 8);
  at::Tensor activation(int32_t quant_point, const at::Tensor& x, const at::Tensor& valid,
                        at::ScalarType type) override;
  at::Tensor weight(const std::string& name, const at::Tensor& w, at::ScalarType type) override;

  const std::vector<float>& activation_scales() const { return scales_; }
  int weight_bits() const { return weight_bits_; }

  // Called with int8 values of each point when set: for the parity test against the engine.
  std::function<void(int32_t quant_point, const at::Tensor& int8_values)> tap;

 private:
  std::vector<float> scales_;
  int weight_bits_;
};

}  // namespace twofour
