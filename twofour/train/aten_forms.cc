#include "twofour/train/aten_forms.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <atomic>
#include <limits>

namespace twofour::aten_forms {
namespace {

std::atomic<int> everywhere = 0;

at::Generator new_generator(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  at::Generator generator = at::detail::getCUDAHooks().getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

}  // namespace

bool needed(const at::Tensor& x) { return !x.is_cpu() || everywhere > 0; }

Everywhere::Everywhere() { ++everywhere; }
Everywhere::~Everywhere() { --everywhere; }

at::Tensor quantize_dequantize(const at::Tensor& x, const at::Tensor& scale, int64_t qmax,
                               at::ScalarType type) {
  // As in the loop: at::round would leave -0, and on a GPU a quotient by a number of the host is a
  // product with its inverse.
  constexpr float kRounder = 12582912.0f;
  at::Tensor y = x.to(at::kFloat).div(scale);
  y.clamp_(-qmax, qmax).add_(kRounder).sub_(kRounder).mul_(scale);
  return y.to(type);
}

at::Tensor clip_gradient(const at::Tensor& x, float limit, const at::Tensor& dy) {
  const at::Tensor inside = x.to(at::kFloat).abs().le(limit);
  return dy.to(at::kFloat).masked_fill(inside.logical_not(), 0).to(x.scalar_type());
}

at::Tensor row_scales(const at::Tensor& w, int64_t qmax) {
  const at::Tensor limit = at::full({}, qmax, w.options());
  return w.abs().amax(1, /*keepdim=*/true).div(limit).clamp_min(std::numeric_limits<float>::min());
}

at::Tensor dropout(const at::Tensor& x, uint64_t seed, double p) {
  const at::Tensor dropped = at::empty(x.sizes(), x.options().dtype(at::kBool));
  dropped.bernoulli_(p, new_generator(x.device(), seed));
  const auto scale = static_cast<float>(1 / (1 - p));
  return x.to(at::kFloat).mul(scale).masked_fill_(dropped, 0).to(x.scalar_type());
}

void zero_outside(const at::Tensor& mask, const at::Tensor& values, const at::Tensor& removed) {
  const at::NoGradGuard no_grad;
  if (removed.defined()) removed.add_(values.masked_fill(mask, 0));
  values.masked_fill_(mask.logical_not(), 0);
}

bool any_outside(const at::Tensor& mask, const at::Tensor& values) {
  return values.ne(0).logical_and(mask.logical_not()).any().item<bool>();
}

}  // namespace twofour::aten_forms
