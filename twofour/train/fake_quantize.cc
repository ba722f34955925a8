#include "twofour/train/fake_quantize.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/quant/quantize.h"
#include "twofour/train/aten_forms.h"
#include "twofour/train/elementwise.h"

namespace twofour {
namespace {

using elementwise::BFloat16;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Elements for which starting a thread pays.
constexpr int64_t kGrain = 1 << 15;

// Calls f(T{}, U{}) with float or BFloat16 for the two types.
template <class F>
void with_types(at::ScalarType a, at::ScalarType b, F f) {
  const auto second = [&](auto first) {
    if (b == at::kFloat) return f(first, float{});
    return f(first, BFloat16{});
  };
  if (a == at::kFloat) return second(float{});
  return second(BFloat16{});
}

template <class T>
T* data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <class T>
const T* const_data(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

void check_type(at::ScalarType type) {
  if (type == at::kFloat || type == at::kBFloat16) return;
  throw Error("fake_quantize", fmt::format("expected f32 or bf16, found {}", at::toString(type)));
}

class QuantizeDequantize : public torch::autograd::Function<QuantizeDequantize> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, double scale,
                            int64_t qmax, at::ScalarType type) {
    const at::Tensor x = input.contiguous();
    const float s = static_cast<float>(scale);
    context->save_for_backward({x});
    context->saved_data["limit"] = static_cast<double>(s * static_cast<float>(qmax));
    if (aten_forms::needed(x)) {
      const at::Tensor one = at::full({}, scale, x.options().dtype(at::kFloat));
      return aten_forms::quantize_dequantize(x, one, qmax, type);
    }
    at::Tensor y = at::empty(x.sizes(), x.options().dtype(type));
    with_types(x.scalar_type(), type, [&]<class T, class U>(T, U) {
      at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
        elementwise::quantize_dequantize(const_data<T>(x) + begin, s, static_cast<int>(qmax),
                                         data<U>(y) + begin, end - begin);
      });
    });
    return y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor dy = gradients[0].contiguous();
    const float limit = static_cast<float>(context->saved_data["limit"].toDouble());
    if (aten_forms::needed(x)) return {aten_forms::clip_gradient(x, limit, dy), {}, {}, {}};
    at::Tensor dx = at::empty_like(x);
    with_types(x.scalar_type(), dy.scalar_type(), [&]<class T, class U>(T, U) {
      at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
        elementwise::clip_gradient(const_data<T>(x) + begin, limit, const_data<U>(dy) + begin,
                                   data<T>(dx) + begin, end - begin);
      });
    });
    return {dx, {}, {}, {}};
  }
};

template <class U>
void quantize_dequantize_rows(const at::Tensor& w, int bits, at::Tensor& y) {
  const int64_t cols = w.size(1);
  const int qmax = (1 << (bits - 1)) - 1;
  at::parallel_for(0, w.size(0), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, cols)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) {
                       const float* x = const_data<float>(w) + row * cols;
                       const float scale = scale_from_amax(elementwise::max_abs(x, cols), bits);
                       elementwise::quantize_dequantize(x, scale, qmax, data<U>(y) + row * cols,
                                                        cols);
                     }
                   });
}

class QuantizeDequantizeRows : public torch::autograd::Function<QuantizeDequantizeRows> {
 public:
  static at::Tensor forward(AutogradContext*, const at::Tensor& weight, int64_t bits,
                            at::ScalarType type) {
    const at::Tensor w = weight.contiguous();
    if (aten_forms::needed(w)) {
      const int64_t qmax = (int64_t{1} << (bits - 1)) - 1;
      return aten_forms::quantize_dequantize(w, aten_forms::row_scales(w, qmax), qmax, type);
    }
    at::Tensor y = at::empty(w.sizes(), w.options().dtype(type));
    with_types(at::kFloat, type, [&]<class T, class U>(T, U) {
      quantize_dequantize_rows<U>(w, static_cast<int>(bits), y);
    });
    return y;
  }

  static tensor_list backward(AutogradContext*, const tensor_list& gradients) {
    return {gradients[0].to(at::kFloat), {}, {}};
  }
};

at::Tensor int8_values(const at::Tensor& x, float scale) {
  const at::Tensor values = x.detach().to(at::kFloat).cpu().contiguous();
  at::Tensor result = at::empty(values.sizes(), at::kChar);
  const auto count = static_cast<size_t>(values.numel());
  quantize({values.const_data_ptr<float>(), count}, scale,
           {result.mutable_data_ptr<int8_t>(), count});
  return result;
}

}  // namespace

at::Tensor fake_quantize(const at::Tensor& x, float scale, int bits, at::ScalarType type) {
  check_type(x.scalar_type());
  check_type(type);
  if (!std::isnormal(scale) || scale < 0) {
    throw Error("fake_quantize",
                fmt::format("the scale must be a normal number above 0, found {}", scale),
                "Calibrate the activations");
  }
  return QuantizeDequantize::apply(x, static_cast<double>(scale), (int64_t{1} << (bits - 1)) - 1,
                                   type);
}

at::Tensor fake_quantize_weight(const at::Tensor& w, int bits, at::ScalarType type) {
  check_type(type);
  if (w.scalar_type() != at::kFloat || w.dim() != 2) {
    throw Error("fake_quantize_weight", fmt::format("expected an f32 matrix, found {} of rank {}",
                                                    at::toString(w.scalar_type()), w.dim()));
  }
  return QuantizeDequantizeRows::apply(w, static_cast<int64_t>(bits), type);
}

CalibrationHook::CalibrationHook(size_t quant_points) : histograms_(quant_points) {}

at::Tensor CalibrationHook::activation(int32_t quant_point, const at::Tensor& x,
                                       const at::Tensor& valid, at::ScalarType type) {
  Histogram& histogram = histograms_.at(quant_point);
  const bool per_token = x.dim() == 3;
  at::Tensor rows = x.detach().to(at::kFloat);
  if (per_token) rows = rows.flatten(0, 1).index({valid.flatten()});
  rows = rows.cpu().contiguous();
  histogram.add({rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())});
  return x.to(type);
}

at::Tensor CalibrationHook::weight(const std::string&, const at::Tensor& w, at::ScalarType type) {
  return w.to(type);
}

FakeQuantizeHook::FakeQuantizeHook(std::vector<float> activation_scales, int weight_bits)
    : scales_(std::move(activation_scales)), weight_bits_(weight_bits) {}

at::Tensor FakeQuantizeHook::activation(int32_t quant_point, const at::Tensor& x, const at::Tensor&,
                                        at::ScalarType type) {
  const float scale = scales_.at(quant_point);
  if (tap) tap(quant_point, int8_values(x, scale));
  return fake_quantize(x, scale, 8, type);
}

at::Tensor FakeQuantizeHook::weight(const std::string&, const at::Tensor& w, at::ScalarType type) {
  return fake_quantize_weight(w, weight_bits_, type);
}

}  // namespace twofour
