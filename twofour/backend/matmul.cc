#include "twofour/backend/matmul.h"

#include <fmt/format.h>

namespace twofour {

std::string_view matmul_type_name(MatmulType type) {
  switch (type) {
    case MatmulType::kF32:
      return "f32";
    case MatmulType::kBf16:
      return "bf16";
    case MatmulType::kS8:
      return "int8";
  }
  __builtin_unreachable();
}

int64_t element_bytes(MatmulType type) {
  return type == MatmulType::kF32 ? 4 : type == MatmulType::kBf16 ? 2 : 1;
}

int64_t input_bytes(MatmulType type) { return type == MatmulType::kS8 ? 1 : 4; }

uint64_t PackedWeights::bytes() const {
  return weights.size() + metadata.size() + scales.size() + bias.size() + row_sums.size() +
         store_map.size() + row_map.size() * sizeof(int32_t);
}

std::optional<std::string> Kernel::rejects(const MatmulDesc& desc) const {
  if (desc.type != type()) {
    return fmt::format("computes {}, not {}", matmul_type_name(type()),
                       matmul_type_name(desc.type));
  }
  if (sparse() && !desc.sparse) return "the weight is not 2:4-sparse";
  if (sparse() && desc.k % 8 != 0) return fmt::format("k = {} is not a multiple of 8", desc.k);
  return std::nullopt;
}

std::optional<std::string> Kernel::supports(const MatmulDesc& desc) const {
  if (auto reason = unavailable()) return reason;
  return rejects(desc);
}

}  // namespace twofour
