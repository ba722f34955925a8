// For tests: tensors of tests/golden by name.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "twofour/io/safetensors.h"
#include "twofour/train/torch_tensors.h"

namespace twofour {

class Golden {
 public:
  // `file` below tests/golden.
  explicit Golden(const std::string& file)
      : tensors_(Safetensors::open(std::string(TWOFOUR_SOURCE_DIR "/tests/golden/") + file)) {}

  bool contains(const std::string& name) const { return tensors_.contains(name); }
  at::Tensor operator()(const std::string& name) const { return to_torch(tensors_.get(name)); }
  at::Tensor int64(const std::string& name) const { return (*this)(name).to(at::kLong); }
  at::Tensor leaf(const std::string& name) const { return (*this)(name).requires_grad_(true); }
  double number(const std::string& name) const { return (*this)(name).item<double>(); }

 private:
  Safetensors tensors_;
};

// Largest difference at most `tolerance` times the largest expected magnitude, or times `floor` if
// that is more.
inline ::testing::AssertionResult near(const at::Tensor& actual, const at::Tensor& expected,
                                       double tolerance, double floor = 1e-3) {
  if (!actual.defined()) return ::testing::AssertionFailure() << "no tensor";
  if (actual.sizes() != expected.sizes()) {
    return ::testing::AssertionFailure()
           << "shape " << actual.sizes() << ", expected " << expected.sizes();
  }
  if (expected.numel() == 0) return ::testing::AssertionSuccess();
  const at::Tensor a = actual.detach().to(at::kDouble), e = expected.detach().to(at::kDouble);
  const double difference = (a - e).abs().max().item<double>();
  const double limit = tolerance * std::max(floor, e.abs().max().item<double>());
  if (difference <= limit) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "differs by " << difference << ", allowed are " << limit;
}

}  // namespace twofour
