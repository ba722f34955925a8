#include "twofour/io/weight_masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr std::array<std::string_view, 3> kMasks{".__weight_mma_mask", "._weight_mask",
                                                 ".weight_mask"};
constexpr std::string_view kPrunedValues = ".__weight_mma_pruned_p";

// Stand for X.weight, which only the tool that wrote them can compute.
constexpr std::array<std::string_view, 2> kOriginals{".weight_orig",
                                                     ".parametrizations.weight.original"};

constexpr const char* kRemedy =
    "Let the tool make its masks permanent before it saves (apex: as it is; ModelOpt: export; "
    "torch.nn.utils.prune: remove; torch.ao.pruning: squash_mask)";

// Empty unless `name` ends with one of `suffixes`; then what stands before.
template <size_t kCount>
std::string layer_of(std::string_view name, const std::array<std::string_view, kCount>& suffixes) {
  for (std::string_view suffix : suffixes) {
    if (name.ends_with(suffix)) return std::string(name.substr(0, name.size() - suffix.size()));
  }
  return {};
}

bool is_float(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32 ||
         dtype == DType::kF64;
}

// Of a little-endian element, at any alignment; the sign of a float does not count.
bool is_zero(const TensorView& view, int64_t index) {
  const size_t size = dtype_bytes(view.dtype);
  const std::byte* element = view.data + index * size;
  for (size_t i = 0; i < size; ++i) {
    const bool holds_sign = i + 1 == size && is_float(view.dtype);
    if ((element[i] & std::byte(holds_sign ? 0x7f : 0xff)) != std::byte{0}) return false;
  }
  return true;
}

void check_mask(const TensorView& mask, const TensorView& weight, const std::string& where) {
  if (mask.shape != weight.shape) {
    throw Error(where,
                fmt::format("the mask is {}, its weight {}", mask.shape.to_string(),
                            weight.shape.to_string()),
                kRemedy);
  }
  int64_t kept = 0;
  for (int64_t i = 0; i < weight.shape.numel(); ++i) {
    kept += is_zero(mask, i) && !is_zero(weight, i);
  }
  if (kept == 0) return;
  throw Error(where,
              fmt::format("the weight is not zero where its mask is: {} of {} values", kept,
                          weight.shape.numel()),
              kRemedy);
}

}  // namespace

bool is_left_by_pruning(std::string_view name) {
  return name.ends_with(kPrunedValues) || !layer_of(name, kMasks).empty();
}

void check_weight_masks(const Safetensors& tensors, const std::string& origin) {
  for (const std::string& name : tensors.names()) {
    const std::string where = fmt::format("{}: {}", origin, name);
    if (!layer_of(name, kOriginals).empty()) {
      throw Error(where, "stands for a weight that is stored as an original and a mask", kRemedy);
    }
    const std::string layer = layer_of(name, kMasks);
    if (layer.empty()) continue;
    const std::string weight = layer + ".weight";
    if (tensors.contains(layer + ".weight_orig")) continue;  // told at that one
    if (!tensors.contains(weight))
      throw Error(where, "is the mask of a weight that is missing", kRemedy);
    check_mask(tensors.get(name), tensors.get(weight), where);
  }
}

}  // namespace twofour
