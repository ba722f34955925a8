// Simulated int8 in training: quantize-dequantize with the clipped straight-through estimator, and calibration.
#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "twofour/quant/calibrator.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// x^ = clamp(round_half_even(x / s), -qmax, qmax) * s; dL/dx = dL/dx^ * 1[|x| <= s * qmax]. Computed in f32 whatever the
// autocast state. `scale` is a scalar tensor or [n, 1] for rows. Bit-identical to quant/quantize.h.
at::Tensor fake_quantize(const at::Tensor& x, const at::Tensor& scale, int bits = 8);

// Observes activations at quantization points into histograms (padding left out).
class CalibrationHook : public TensorHook {
 public:
  explicit CalibrationHook(size_t quant_points);
  at::Tensor activation(int32_t quant_point, const at::Tensor& x, const at::Tensor& valid) override;
  at::Tensor weight(const std::string& name, const at::Tensor& w) override;
  std::vector<Histogram>& histograms() { return histograms_; }

 private:
  std::vector<Histogram> histograms_;
};

// Static scales for activations, per-channel scales from the current weights.
class FakeQuantizeHook : public TensorHook {
 public:
  explicit FakeQuantizeHook(std::vector<float> activation_scales);
  at::Tensor activation(int32_t quant_point, const at::Tensor& x, const at::Tensor& valid) override;
  at::Tensor weight(const std::string& name, const at::Tensor& w) override;

  // Called with int8 values of each point when set: for the parity test against the engine.
  std::function<void(int32_t quant_point, const at::Tensor& int8_values)> tap;

 private:
  std::vector<float> scales_;
};

}  // namespace twofour
