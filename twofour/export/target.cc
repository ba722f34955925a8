#include "twofour/export/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "twofour/base/error.h"

namespace twofour {
namespace {

// All three fuse Q/DQ placed directly before the product, with int8 weights behind a per-channel
// DequantizeLinear; softmax, LayerNorm and the residual stream stay float.
constexpr std::array kTargets{
    ExportTarget{"onnxruntime", true},
    ExportTarget{"openvino", false},
    ExportTarget{"tensorrt", false},
};

}  // namespace

const ExportTarget& export_target(std::string_view name) {
  for (const ExportTarget& target : kTargets) {
    if (target.name == name) return target;
  }
  throw Error("export", fmt::format("target '{}' is not known", name),
              fmt::format("Known: {}", fmt::join(export_target_names(), ", ")));
}

std::vector<std::string> export_target_names() {
  std::vector<std::string> names;
  for (const ExportTarget& target : kTargets) names.emplace_back(target.name);
  return names;
}

}  // namespace twofour
