#include "twofour/backend/linear.h"

#include <gtest/gtest.h>

#include "twofour/backend/backends.h"
#include "twofour/backend/matmul_cases.h"
#include "twofour/backend/poison.h"
#include "twofour/backend/vector_ops.h"

namespace twofour {
namespace {

struct Result {
  std::vector<float> y;
  std::vector<int8_t> q;
  bool operator==(const Result&) const = default;
};

Result run(const PackedLinear& linear, const MatmulCase& c, int64_t m, int threads, bool keep_f32) {
  ThreadPool pool(threads);
  AlignedBuffer scratch = poisoned(linear.scratch_bytes(m, threads));
  Result result{std::vector<float>(keep_f32 ? m * c.desc.n : 0, kPoison),
                std::vector<int8_t>(m * c.desc.n, kPoisonByte)};
  LinearArgs args;
  args.m = m;
  args.x = c.x();
  args.input_scale = c.input_scale;
  args.y = keep_f32 ? result.y.data() : nullptr;
  args.quantized = result.q.data();
  args.output_scale = 0.05f;
  args.scratch = scratch.data();
  linear.run(pool, args);
  return result;
}

TEST(PackedLinear, AnyThreadCountGivesTheSame) {
  CaseMaker maker(5);
  for (const MatmulDesc& desc :
       {MatmulDesc{200, 64, MatmulType::kS8, true}, MatmulDesc{37, 20, MatmulType::kS8, false},
        MatmulDesc{130, 33, MatmulType::kF32, false}}) {
    for (int64_t m : {1, 23, 24, 60, 131, 500}) {
      const MatmulCase c = maker.make(desc, m);
      const PackedLinear linear(select_kernel(desc), desc, c.source(), ActivationKind::kGelu);
      Result want{run_kernel(linear.kernel(), linear.weights(), c, m),
                  std::vector<int8_t>(m * desc.n)};
      vector_ops().activate(ActivationKind::kGelu, want.y.data(), m * desc.n);
      vector_ops().quantize(want.y.data(), m * desc.n, 0.05f, 0, want.q.data());
      for (int threads : {1, 2, 3, 8}) {
        EXPECT_EQ(run(linear, c, m, threads, true), want) << "m " << m << " threads " << threads;
        EXPECT_EQ(run(linear, c, m, threads, false).q, want.q)
            << "m " << m << " threads " << threads;
      }
    }
  }
}

// A row's own scales are those that the row alone would have.
TEST(PackedLinear, ScalesByRowAreEachRowsOwn) {
  CaseMaker maker(6);
  for (const MatmulDesc& desc :
       {MatmulDesc{200, 64, MatmulType::kS8, true}, MatmulDesc{37, 20, MatmulType::kS8, false},
        MatmulDesc{37, 20, MatmulType::kF32, false}}) {
    const bool int8 = desc.type == MatmulType::kS8;  // the scales of f32 are of its results alone
    for (int64_t m : {1, 23, 60, 131}) {
      const MatmulCase c = maker.make(desc, m);
      std::vector<float> input_scales(m);
      for (int64_t i = 0; i < m; ++i) input_scales[i] = 0.01f * static_cast<float>(1 + i % 7);
      const PackedLinear linear(select_kernel(desc), desc, c.source(), ActivationKind::kGelu, true);

      Result want{std::vector<float>(m * desc.n), std::vector<int8_t>(m * desc.n)};
      std::vector<float> want_scales(m);
      const auto* x = static_cast<const int8_t*>(c.x());
      if (!int8) want.y = run_kernel(linear.kernel(), linear.weights(), c, m);
      for (int64_t i = 0; i < m; ++i) {
        float* row = want.y.data() + i * desc.n;
        for (int64_t j = 0; int8 && j < desc.n; ++j) {
          int32_t sum = 0;
          for (int64_t k = 0; k < desc.k; ++k)
            sum += x[i * desc.k + k] * c.source().weight.as<int8_t>()[j * desc.k + k];
          row[j] =
              static_cast<float>(sum) * c.source().scales[j] * input_scales[i] + c.source().bias[j];
        }
        vector_ops().activate(ActivationKind::kGelu, row, desc.n);
        want_scales[i] = vector_ops().quantize_row(row, desc.n, want.q.data() + i * desc.n);
      }
      for (int threads : {1, 2, 5}) {
        for (bool keep_f32 : {true, false}) {
          ThreadPool pool(threads);
          AlignedBuffer scratch = poisoned(linear.scratch_bytes(m, threads));
          Result found{std::vector<float>(m * desc.n, kPoison),
                       std::vector<int8_t>(m * desc.n, kPoisonByte)};
          std::vector<float> scales(m, kPoison);
          LinearArgs args;
          args.m = m;
          args.x = c.x();
          args.input_scales = int8 ? input_scales.data() : nullptr;
          args.y = keep_f32 ? found.y.data() : nullptr;
          args.quantized = found.q.data();
          args.output_scales = scales.data();
          args.scratch = scratch.data();
          linear.run(pool, args);
          if (!keep_f32) found.y = want.y;
          EXPECT_EQ(found, want) << "m " << m << " threads " << threads;
          EXPECT_EQ(scales, want_scales) << "m " << m << " threads " << threads;
        }
      }
    }
  }
}

}  // namespace
}  // namespace twofour
