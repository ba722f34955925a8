#include "twofour/cli/random_product.h"

#include <algorithm>
#include <random>

namespace twofour::cli {
namespace {

template <class T>
T random_value(std::minstd_rand& random) {
  const int value = static_cast<int>(random() % 255) - 127;
  if constexpr (std::is_same_v<T, float>) return static_cast<float>(value) / 127;
  return static_cast<T>(value);
}

template <class T>
void fill(std::span<T> values) {
  std::minstd_rand random(1);
  for (T& value : values) value = random_value<T>(random);
}

// Two of the four positions of a group, in each of the six ways equally often.
template <class T>
void prune(std::span<T> weight, int64_t k, int share_rows) {
  constexpr int kZeros[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
  std::minstd_rand random(2);
  const auto end = static_cast<int64_t>(weight.size());
  for (int64_t set = 0; set < end; set += share_rows * k) {
    for (int64_t group = 0; group < k; group += 4) {
      const auto& zeros = kZeros[random() % 6];
      for (int64_t row = set; row < std::min(set + share_rows * k, end); row += k) {
        for (const int zero : zeros) weight[row + group + zero] = 0;
      }
    }
  }
}

PackedLinear pack(const Kernel& kernel, const MatmulDesc& desc, int share_rows,
                  bool scales_by_row) {
  const Tensor weight = random_weight(desc, share_rows);
  const std::vector<float> scales(desc.type == MatmulType::kS8 ? desc.n : 0, kRandomWeightScale);
  const std::vector<float> bias(desc.n, kRandomBias);
  return PackedLinear(kernel, desc, {weight, scales, bias}, std::nullopt, scales_by_row);
}

}  // namespace

Tensor random_weight(const MatmulDesc& desc, int share_rows) {
  const auto make = [&]<class T>(DType dtype, T) {
    Tensor weight(dtype, {desc.n, desc.k});
    fill(weight.as<T>());
    if (desc.sparse) prune(weight.as<T>(), desc.k, share_rows);
    return weight;
  };
  return desc.type == MatmulType::kS8 ? make(DType::kI8, int8_t{}) : make(DType::kF32, float{});
}

AlignedBuffer random_inputs(MatmulType type, int64_t count) {
  AlignedBuffer inputs(count * input_bytes(type));
  if (type == MatmulType::kS8) {
    fill(std::span(inputs.as<int8_t>(), count));
  } else {
    fill(std::span(inputs.as<float>(), count));
  }
  return inputs;
}

RandomProduct::RandomProduct(const Kernel& kernel, int64_t n, int64_t k, int share_rows,
                             bool scales_by_row)
    : linear_(pack(kernel, {n, k, kernel.type(), kernel.sparse()}, share_rows, scales_by_row)) {}

void RandomProduct::set_rows(int64_t m, int threads) {
  m_ = m;
  const MatmulDesc& desc = linear_.desc();
  x_ = random_inputs(desc.type, m * desc.k);
  y_ = AlignedBuffer(m * desc.n * sizeof(float));
  scratch_ = AlignedBuffer(linear_.scratch_bytes(m, threads));
  scales_.assign(m, kRandomInputScale);
}

void RandomProduct::run(ThreadPool& pool) {
  LinearArgs args;
  args.m = m_;
  args.x = x_.data();
  args.input_scale = kRandomInputScale;
  args.input_scales = scales_.data();
  args.y = y_.as<float>();
  args.scratch = scratch_.data();
  linear_.run(pool, args);
}

}  // namespace twofour::cli
