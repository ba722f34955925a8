// The elements of a matrix as bit patterns: one code for floats, halves and integers.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "twofour/base/tensor.h"

namespace twofour {

// Throws Error unless `matrix` has two dimensions and a type that the 2:4 functions know.
void check_matrix(std::string_view name, const TensorView& matrix);

template <class BitsType, bool kIsFloat>
struct Elements {
  using Bits = BitsType;

  // memcpy: safetensors files may be unaligned.
  static void load(const std::byte* matrix, int64_t index, int count, Bits* out) {
    std::memcpy(out, matrix + index * sizeof(Bits), count * sizeof(Bits));
  }
  static bool is_zero(Bits bits) {
    // The shift removes the sign.
    return kIsFloat ? static_cast<Bits>(bits << 1) == 0 : bits == 0;
  }
};

// Calls function(Elements<...>{}) for the type of the matrix, which check_matrix has accepted.
template <class Function>
auto dispatch_elements(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kF32:
      return function(Elements<uint32_t, true>{});
    case DType::kI8:
      return function(Elements<uint8_t, false>{});
    default:
      return function(Elements<uint16_t, true>{});
  }
}

}  // namespace twofour
