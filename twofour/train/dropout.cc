#include "twofour/train/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <mutex>

#include "twofour/base/error.h"
#include "twofour/train/aten_forms.h"
#include "twofour/train/elementwise.h"

namespace twofour {
namespace {

using elementwise::BFloat16;
using elementwise::kDropoutBlock;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

uint64_t next_seed() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

template <class T>
void drop(const at::Tensor& x, uint64_t seed, double p, at::Tensor& y) {
  const auto* in = static_cast<const T*>(x.const_data_ptr());
  auto* out = static_cast<T*>(y.mutable_data_ptr());
  const int64_t size = x.numel(), blocks = (size + kDropoutBlock - 1) / kDropoutBlock;
  at::parallel_for(0, blocks, 8, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kDropoutBlock;
      elementwise::dropout_block(in + first, seed, block, p, out + first,
                                 std::min(kDropoutBlock, size - first));
    }
  });
}

at::Tensor dropped(const at::Tensor& x, uint64_t seed, double p) {
  if (aten_forms::needed(x)) return aten_forms::dropout(x, seed, p);
  at::Tensor y = at::empty(x.sizes(), x.options());
  if (x.scalar_type() == at::kFloat) {
    drop<float>(x, seed, p, y);
  } else {
    drop<BFloat16>(x, seed, p, y);
  }
  return y;
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, double p) {
    const uint64_t seed = next_seed();
    context->saved_data["seed"] = static_cast<int64_t>(seed);
    context->saved_data["p"] = p;
    return dropped(x.contiguous(), seed, p);
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const auto seed = static_cast<uint64_t>(context->saved_data["seed"].toInt());
    return {dropped(gradients[0].contiguous(), seed, context->saved_data["p"].toDouble()), {}};
  }
};

}  // namespace

at::Tensor apply_dropout(const at::Tensor& x, double p) {
  if (!(p >= 0 && p < 1)) {
    throw Error("dropout", fmt::format("the probability must lie in [0, 1), found {}", p));
  }
  if (x.scalar_type() != at::kFloat && x.scalar_type() != at::kBFloat16) {
    throw Error("dropout",
                fmt::format("expected f32 or bf16, found {}", at::toString(x.scalar_type())));
  }
  return Dropout::apply(x, p);
}

}  // namespace twofour
