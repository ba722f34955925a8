#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "twofour/base/error.h"
#include "twofour/graph/network.h"

namespace twofour {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kF64;
}

constexpr std::string_view kOtherModel =
    "The file is incomplete, or config.json is of another model: take both from one";

bool belongs_to_head(std::string_view name) {
  return name.starts_with("pooler.") || name.starts_with("classifier.");
}

class Checker {
 public:
  explicit Checker(const ModelDirectory& model) : model_(model) {}

  void check(const Parameter& parameter, bool may_be_int8) const {
    const TensorView view = model_.tensor(parameter.name);
    expect_shape(parameter.name, view, parameter.shape);
    // Of int8 every value is one, and ModelDirectory has checked the scales.
    if (view.dtype == DType::kI8 && may_be_int8) return;
    if (is_float(view.dtype)) {
      check_finite(parameter.name, view);
    } else {
      fail(parameter.name,
           fmt::format("expected {}, found {}", may_be_int8 ? "floats or I8" : "floats",
                       dtype_name(view.dtype)),
           "Save the tensor as F32, F16 or BF16");
    }
  }

  [[noreturn]] void fail_missing(const Parameter& parameter) const {
    fail(parameter.name, fmt::format("missing, expected shape {}", parameter.shape.to_string()),
         kOtherModel);
  }

 private:
  [[noreturn]] void fail(std::string_view tensor, const std::string& message,
                         std::string_view remedy) const {
    throw Error(model_.where(tensor), message, remedy);
  }

  void expect_shape(std::string_view name, const TensorView& view, const Shape& shape) const {
    if (view.shape == shape) return;
    fail(name,
         fmt::format("expected shape {} as config.json says, found {}", shape.to_string(),
                     view.shape.to_string()),
         kOtherModel);
  }

  void check_finite(std::string_view name, const TensorView& view) const {
    const Tensor copy = to_f32(view, name);
    const auto values = copy.as<float>();
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad == values.end()) return;
    fail(name, fmt::format("element {} is {}, expected finite values", bad - values.begin(), *bad),
         "The training that wrote it has diverged, or the file is damaged: take another model");
  }

  const ModelDirectory& model_;
};

}  // namespace

std::vector<std::string> check_parameters(const Network& network, const ModelDirectory& model) {
  std::vector<bool> may_be_int8(network.parameters.size(), false);
  for (const Op& op : network.ops) {
    if (op.kind == OpKind::kLinear && op.prunable) may_be_int8[op.parameters[0]] = true;
  }
  const Checker checker(model);
  std::vector<std::string> absent;
  for (size_t i = 0; i < network.parameters.size(); ++i) {
    const Parameter& parameter = network.parameters[i];
    if (model.contains(parameter.name)) {
      checker.check(parameter, may_be_int8[i]);
    } else if (belongs_to_head(parameter.name)) {
      absent.push_back(parameter.name);
    } else {
      checker.fail_missing(parameter);
    }
  }
  return absent;
}

}  // namespace twofour
