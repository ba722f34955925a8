#include "twofour/train/dropout.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "twofour/base/error.h"

namespace twofour {
namespace {

at::Tensor seeded_dropout(const at::Tensor& x, double p, uint64_t seed = 1) {
  at::manual_seed(seed);
  return apply_dropout(x, p);
}

TEST(Dropout, ZeroesTheShareAndScalesTheRest) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const double p : {0.0, 0.1, 0.5, 0.9}) {
      const int64_t n = 1'000'003;
      const at::Tensor y = seeded_dropout(at::full({n}, 2.0, type), p);
      const at::Tensor kept = y.ne(0);
      const double share = kept.to(at::kDouble).mean().item<double>();
      EXPECT_NEAR(share, 1 - p, 5 * std::sqrt(p * (1 - p) / n)) << p;
      EXPECT_TRUE(y.masked_select(kept).eq(at::full({}, 2 / (1 - p), type)).all().item<bool>())
          << p;
    }
  }
}

TEST(Dropout, GradientsMeetTheSameMask) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::ones({77, 131}, type).requires_grad_(true);
    const at::Tensor y = apply_dropout(x, 0.3);
    y.backward(at::ones_like(y));
    EXPECT_TRUE(at::equal(x.grad(), y));
  }
}

TEST(Dropout, FollowsTheSeedAndNotTheThreads) {
  const at::Tensor x = at::ones({300, 301});
  const at::Tensor first = seeded_dropout(x, 0.2);
  EXPECT_FALSE(at::equal(apply_dropout(x, 0.2), first));
  EXPECT_FALSE(at::equal(seeded_dropout(x, 0.2, 2), first));
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(seeded_dropout(x, 0.2), first));
  at::set_num_threads(threads);
}

// Neighbours, lanes, blocks and calls must not repeat each other.
TEST(Dropout, IsNotCorrelatedOverAnyDistanceOfItsStreams) {
  const int64_t n = 1 << 20;
  const at::Tensor x = at::ones({n});
  const at::Tensor a = seeded_dropout(x, 0.5) - 1, b = apply_dropout(x, 0.5) - 1;
  const auto correlation = [&](const at::Tensor& u, const at::Tensor& v) {
    return (u * v).mean().item<double>() * std::sqrt(static_cast<double>(n));
  };
  for (const int64_t shift : {1, 4, 8, 256, 4096, 8192})
    EXPECT_LT(std::abs(correlation(a, a.roll(shift))), 5) << shift;
  EXPECT_LT(std::abs(correlation(a, b)), 5);
  EXPECT_NEAR(correlation(a, a), std::sqrt(static_cast<double>(n)), 1e-3);
}

TEST(Dropout, RefusesWhatIsNoProbability) {
  EXPECT_THROW(apply_dropout(at::ones({2}), 1), Error);
  EXPECT_THROW(apply_dropout(at::ones({2}), -0.1), Error);
  EXPECT_THROW(apply_dropout(at::ones({2}), std::nan("")), Error);
  EXPECT_THROW(apply_dropout(at::ones({2}, at::kDouble), 0.1), Error);
}

}  // namespace
}  // namespace twofour
