// The AVX-VNNI kernels on machines that have AVX-512 VNNI instead: the same instruction in another
// encoding, which avxvnni_as_evex is compiled with. Where AVX-VNNI itself is there, matmul_test
// runs the kernels.
#include <gtest/gtest.h>

#include <random>

#include "twofour/backend/backends.h"
#include "twofour/backend/cpu/panels.h"
#include "twofour/backend/cpu/vector_tables.h"
#include "twofour/backend/matmul_cases.h"
#include "twofour/backend/poison.h"
#include "twofour/base/cpu_features.h"

namespace twofour {

void matmul_s8_evex(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_s8_evex_scratch(const PackedWeights& w, int64_t m);
void spmm24_s8_evex(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_s8_evex_scratch(const PackedWeights& w, int64_t m);
void attention_s8_evex(const AttentionArgs& args);

namespace {

class EvexKernel : public Kernel {
 public:
  explicit EvexKernel(bool sparse) : sparse_(sparse) {}
  std::string_view name() const override { return sparse_ ? "spmm24_s8_evex" : "matmul_s8_evex"; }
  MatmulType type() const override { return MatmulType::kS8; }
  bool sparse() const override { return sparse_; }
  PackedWeights pack(const MatmulDesc& desc, const WeightSource& source) const override {
    return sparse_ ? pack_sparse24(desc, source, 8) : pack_dense(desc, source, 8, 2, 4, 4);
  }
  size_t scratch_bytes(const PackedWeights& w, int64_t m) const override {
    return sparse_ ? spmm24_s8_evex_scratch(w, m) : matmul_s8_evex_scratch(w, m);
  }
  void run(const PackedWeights& w, const MatmulArgs& args) const override {
    sparse_ ? spmm24_s8_evex(w, args) : matmul_s8_evex(w, args);
  }

 private:
  bool sparse_;
};

class AvxVnni : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!cpu_features().avx512_vnni) GTEST_SKIP() << "no AVX-512 VNNI";
  }

  void check(int64_t m, int64_t n, int64_t k, Fill fill, int share, bool shuffled) {
    const MatmulDesc desc{n, k, MatmulType::kS8, GetParam()};
    if (kernel_.rejects(desc)) return;
    const MatmulCase c = maker_.make(desc, m, fill, share, shuffled);
    const Kernel& reference = *forced_kernel("matmul_s8_reference");
    EXPECT_EQ(run_kernel(kernel_, kernel_.pack(desc, c.source()), c, m),
              run_kernel(reference, reference.pack(desc, c.source()), c, m))
        << "m " << m << " n " << n << " k " << k << " share " << share;
  }

  EvexKernel kernel_{GetParam()};
  CaseMaker maker_{11};
};

TEST_P(AvxVnni, EqualsTheReference) {
  for (int64_t m : {1, 2, 3, 4, 5, 6, 9, 13, 31}) {
    for (int64_t n : {1, 7, 8, 15, 16, 17, 33, 100}) {
      for (int64_t k : {1, 4, 7, 8, 24, 70, 136}) check(m, n, k, Fill::kRandom, 1, false);
    }
  }
  for (int64_t k : {8, 384, 3072}) check(9, 40, k, Fill::kExtreme, 1, false);
  for (int share : {2, 4, 8, 16, 32}) {
    for (bool shuffled : {false, true}) {
      for (int64_t m : {1, 6, 13}) check(m, 130, 128, Fill::kRandom, share, shuffled);
    }
  }
}

TEST(AvxVnniAttention, GivesTheSameBitsAsAvx512) {
  if (!cpu_features().avx512_vnni) GTEST_SKIP() << "no AVX-512 VNNI";
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  for (int64_t length : {1, 2, 3, 17, 31, 40, 130, 300}) {
    for (int64_t head_dim : {4, 24, 32, 64, 128}) {
      std::vector<float> inputs(3 * length * head_dim);
      for (float& x : inputs) x = 2 * normal(random);
      const auto run = [&](void (*attention)(const AttentionArgs&)) {
        AlignedBuffer scratch = poisoned(attention_scratch_bytes(length, head_dim));
        std::vector<float> out(length * head_dim, kPoison);
        const float* x = inputs.data();
        attention({.q = x,
                   .k = x + head_dim,
                   .v = x + 2 * head_dim,
                   .length = length,
                   .head_dim = head_dim,
                   .stride = 3 * head_dim,
                   .out = out.data(),
                   .out_stride = head_dim,
                   .scratch = scratch.as<float>()});
        return out;
      };
      EXPECT_EQ(run(attention_s8_evex), run(attention_s8_avx512vnni))
          << "length " << length << " dim " << head_dim;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, AvxVnni, testing::Bool(),
                         [](const auto& info) { return info.param ? "Sparse" : "Dense"; });

}  // namespace
}  // namespace twofour
