// A matrix product over random weights of an encoder layer's shape, for measuring a kernel alone.
#pragma once

#include <span>
#include <vector>

#include "twofour/backend/linear.h"

namespace twofour::cli {

// What a product of a type and shape multiplies, the same for every kernel.
Tensor random_weight(const MatmulDesc& desc, int share_rows);
AlignedBuffer random_inputs(MatmulType type, int64_t count);
inline constexpr float kRandomInputScale = 0.01f, kRandomWeightScale = 0.01f, kRandomBias = 0.5f;

class RandomProduct {
 public:
  // Sets of `share_rows` adjacent rows keep one pattern where the kernel is sparse. `scales_by_row`
  // as in PackedLinear.
  RandomProduct(const Kernel& kernel, int64_t n, int64_t k, int share_rows,
                bool scales_by_row = false);

  void set_rows(int64_t m, int threads);  // before run()
  void run(ThreadPool& pool);             // of as many threads

  const PackedLinear& linear() const { return linear_; }
  std::span<const float> results() const {
    return {y_.as<float>(), static_cast<size_t>(m_ * linear_.desc().n)};
  }

 private:
  PackedLinear linear_;
  AlignedBuffer x_, y_, scratch_;
  std::vector<float> scales_;  // of the rows of x
  int64_t m_ = 0;
};

}  // namespace twofour::cli
