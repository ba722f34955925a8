#include "twofour/export/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "twofour/base/error.h"

namespace twofour {
namespace {

// All three fuse Q/DQ placed directly before the product, with int8 weights behind a per-channel
// DequantizeLinear; softmax, LayerNorm and the residual stream stay float.
//
// ONNX Runtime (1.32, x86) fuses a signed activation only where the pair has a single reader, since
// it rewrites the pair to unsigned first: half of a layer's products stayed float.
constexpr std::array kTargets{
    ExportTarget{"onnxruntime", true, true},
    ExportTarget{"openvino", false, false},
    ExportTarget{"tensorrt", false, false},
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
