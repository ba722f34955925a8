// Random matrices for the tests and benchmarks of kernels.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "twofour/backend/matmul.h"
#include "twofour/backend/poison.h"

namespace twofour {

struct MatmulCase {
  MatmulDesc desc;
  std::vector<float> weight_f32, x_f32, scales, bias;
  std::vector<int8_t> weight_s8, x_s8;
  float input_scale = 0.031f;

  WeightSource source() const {
    const Shape shape{desc.n, desc.k};
    if (desc.type == MatmulType::kS8) {
      return {
          {DType::kI8, shape, reinterpret_cast<const std::byte*>(weight_s8.data())}, scales, bias};
    }
    return {{DType::kF32, shape, reinterpret_cast<const std::byte*>(weight_f32.data())}, {}, bias};
  }
  const void* x() const {
    return desc.type == MatmulType::kS8 ? static_cast<const void*>(x_s8.data()) : x_f32.data();
  }
};

// Extreme: all weights are -128 or 127, which files of others may hold, all activations +-127.
enum class Fill { kRandom, kExtreme };

class CaseMaker {
 public:
  explicit CaseMaker(uint64_t seed) : random_(seed) {}

  // `share` > 1: sets of so many rows keep one pattern, adjacent or spread by a shuffle.
  MatmulCase make(const MatmulDesc& desc, int64_t m, Fill fill = Fill::kRandom, int share = 1,
                  bool shuffled = false) {
    MatmulCase c;
    c.desc = desc;
    c.bias = floats(desc.n);
    if (desc.type != MatmulType::kS8) {
      c.weight_f32 = floats(desc.n * desc.k);
      if (desc.sparse) prune(c.weight_f32, desc, share, shuffled);
      c.x_f32 = floats(m * desc.k);
      return c;
    }
    c.scales = floats(desc.n);
    for (float& scale : c.scales) scale = 0.001f + std::abs(scale);
    c.weight_s8 = bytes(desc.n * desc.k, fill, -128);
    c.x_s8 = bytes(m * desc.k, fill, -127);
    if (desc.sparse) prune(c.weight_s8, desc, share, shuffled);
    return c;
  }

 private:
  std::vector<float> floats(int64_t count) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> out(count);
    for (float& value : out) value = uniform(random_);
    return out;
  }

  std::vector<int8_t> bytes(int64_t count, Fill fill, int least) {
    std::uniform_int_distribution<int> uniform(-127, 127);
    std::vector<int8_t> out(count);
    for (int8_t& value : out) {
      const int v = uniform(random_);
      value = static_cast<int8_t>(fill == Fill::kRandom ? v : v < 0 ? least : 127);
    }
    return out;
  }

  template <class T>
  void prune(std::vector<T>& weight, const MatmulDesc& desc, int share, bool shuffled) {
    std::vector<int64_t> rows(desc.n);
    for (int64_t i = 0; i < desc.n; ++i) rows[i] = i;
    if (shuffled) std::shuffle(rows.begin(), rows.end(), random_);
    for (int64_t group = 0; group < desc.k / 4; ++group) {
      for (int64_t i = 0; i < desc.n; i += share) {
        int order[4] = {0, 1, 2, 3};
        std::shuffle(order, order + 4, random_);
        for (int64_t r = i; r < std::min<int64_t>(i + share, desc.n); ++r) {
          T* values = &weight[rows[r] * desc.k + group * 4];
          values[order[0]] = values[order[1]] = 0;
        }
      }
    }
  }

  std::mt19937_64 random_;
};

// y = all rows of x through `kernel`; `m` as the case was made with.
inline std::vector<float> run_kernel(const Kernel& kernel, const PackedWeights& packed,
                                     const MatmulCase& c, int64_t m) {
  AlignedBuffer scratch = poisoned(kernel.scratch_bytes(packed, m));
  std::vector<float> y(m * c.desc.n, kPoison);
  MatmulArgs args;
  args.m = m;
  args.x = c.x();
  args.input_scale = c.input_scale;
  args.y = y.data();
  args.panel_end = static_cast<int64_t>(packed.panels.size());
  args.scratch = scratch.data();
  kernel.run(packed, args);
  return y;
}

}  // namespace twofour
