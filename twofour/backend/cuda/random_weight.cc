#include "twofour/backend/cuda/random_weight.h"

#include <fmt/format.h>

#include <cstring>
#include <random>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

void store_value(DType type, int value, std::byte* out) {
  const float number = static_cast<float>(value) / 8;
  const uint16_t half = type == DType::kF16 ? f32_to_f16(number) : f32_to_bf16(number);
  const auto byte = static_cast<int8_t>(value);
  if (type == DType::kI8)
    std::memcpy(out, &byte, 1);
  else if (type == DType::kF8E4M3)
    *out = std::byte(f32_to_e4m3(number));
  else if (type == DType::kF32)
    std::memcpy(out, &number, 4);
  else
    std::memcpy(out, &half, 2);
}

}  // namespace

std::vector<std::byte> random_matrix(DType type, int64_t rows, int64_t k, bool sparse,
                                     uint32_t seed) {
  if (type != DType::kI8 && type != DType::kF8E4M3 && type != DType::kF32 && type != DType::kF16 &&
      type != DType::kBF16)
    throw Error("random_matrix", fmt::format("{} is no type of it", dtype_name(type)));
  constexpr int kZeros[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
  const size_t size = dtype_bytes(type);
  std::minstd_rand random(seed);
  std::vector<std::byte> out(static_cast<size_t>(rows) * k * size);
  const int range = type == DType::kI8 ? 127 : 16;
  for (int64_t i = 0; i < rows * k; ++i) {
    const int value = static_cast<int>(random() % (2 * range + 1)) - range;
    store_value(type, value, out.data() + i * size);
  }
  for (int64_t group = 0; sparse && group < rows * k / 4; ++group) {
    for (const int zero : kZeros[random() % 6])
      store_value(type, 0, out.data() + (4 * group + zero) * size);
  }
  return out;
}

}  // namespace twofour::cuda
