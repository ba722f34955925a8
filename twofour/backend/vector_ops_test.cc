#include "twofour/backend/vector_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "twofour/backend/cpu/vector_tables.h"
#include "twofour/backend/poison.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/testing.h"
#include "twofour/quant/quantize.h"

namespace twofour {
namespace {

std::vector<float> random_floats(int64_t count, float range, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-range, range);
  std::vector<float> out(count);
  for (float& value : out) value = uniform(random);
  return out;
}

double exact(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ActivationKind::kRelu:
      return std::max(x, 0.0);
    case ActivationKind::kTanh:
      return std::tanh(x);
  }
  return 0;
}

class EveryTable : public testing::TestWithParam<const VectorOps*> {
 protected:
  const VectorOps& ops() const { return *GetParam(); }
};

// The programs that run at each level would prove nothing if the variable were not read.
TEST(CpuFeatures, AreNoBetterThanTheVariableSays) {
  const char* level = std::getenv("TWOFOUR_MAX_ISA");
  if (level == nullptr) GTEST_SKIP() << "TWOFOUR_MAX_ISA is not set";
  EXPECT_EQ(cpu_features().names(), limit_features(cpu_features(), level).names());
}

TEST_P(EveryTable, ActivationsAreExactToAMillionth) {
  for (ActivationKind kind : {ActivationKind::kGelu, ActivationKind::kGeluTanh,
                              ActivationKind::kRelu, ActivationKind::kTanh}) {
    std::vector<float> x;
    for (int i = -120000; i <= 120000; ++i) x.push_back(static_cast<float>(i) * 1e-4f);
    for (float far : {-1e30f, -300.0f, -90.0f, 90.0f, 300.0f}) x.push_back(far);
    std::vector<float> y = x;
    ops().activate(kind, y.data(), static_cast<int64_t>(y.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = exact(kind, x[i]);
      ASSERT_NEAR(y[i], want, 1e-6 * std::max(1.0, std::fabs(want)))
          << activation_name(kind) << " " << x[i];
    }
  }
}

TEST_P(EveryTable, QuantizesAsTheSharedDefinition) {
  // The fourth has a significand of ones; the others after it are too small or large to be
  // inverted.
  std::vector<float> scales = {0.017f,      0.5f,   1.0f / 127, 0x1.fffffep-7f,
                               0x1.8p-110f, 1e-39f, 1e37f};
  for (float scale : random_floats(200, 0.1f, 7)) scales.push_back(0.001f + std::fabs(scale));
  for (float scale : scales) {
    std::vector<float> x = random_floats(1007, 3.0f);
    for (int i = -300; i <= 300; ++i) {
      const float tie = static_cast<float>(i) * 0.5f * scale;
      x.insert(x.end(), {tie, std::nextafter(tie, -1e38f), std::nextafter(tie, 1e38f)});
    }
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    x.insert(x.end(), {1e30f, -1e30f, 0.0f, -0.0f, kInfinity, -kInfinity});
    std::vector<int8_t> q(x.size(), kPoisonByte), want(x.size());
    ops().quantize(x.data(), static_cast<int64_t>(x.size()), scale, 0, q.data());
    quantize(x, scale, want);
    EXPECT_EQ(q, want) << scale;
  }
}

TEST_P(EveryTable, QuantizesWhatIsShifted) {
  const std::vector<float> x = random_floats(1007, 3.0f);
  std::vector<float> shifted;
  for (float value : x) shifted.push_back(value + -1.7f);
  std::vector<int8_t> q(x.size(), kPoisonByte), want(x.size());
  ops().quantize(x.data(), 1007, 0.02f, -1.7f, q.data());
  quantize(shifted, 0.02f, want);
  EXPECT_EQ(q, want);
}

TEST_P(EveryTable, QuantizesARowToItsOwnRange) {
  for (int64_t width : {1, 15, 16, 17, 384, 770}) {
    std::vector<float> x = random_floats(width, 3.0f, 9);
    x[width / 2] = -4.5f;  // the largest, wherever it stands
    std::vector<int8_t> q(width, kPoisonByte), want(width);
    const float scale = ops().quantize_row(x.data(), width, q.data());
    EXPECT_EQ(scale, scale_from_amax(4.5f)) << width;
    quantize(x, scale, want);
    EXPECT_EQ(q, want) << width;
    EXPECT_EQ(q[width / 2], -127) << width;
  }
  const std::vector<float> zeros(20);
  std::vector<int8_t> q(20, kPoisonByte);
  EXPECT_EQ(ops().quantize_row(zeros.data(), 20, q.data()), scale_from_amax(0));
  EXPECT_EQ(q, std::vector<int8_t>(20));
}

TEST_P(EveryTable, ScalesARow) {
  const std::vector<float> before = random_floats(37, 1, 1), bias = random_floats(37, 1, 2);
  std::vector<float> x = before, without = before;
  ops().scale_row(x.data(), 0.3f, bias.data(), 37);
  ops().scale_row(without.data(), 0.3f, nullptr, 37);
  for (int i = 0; i < 37; ++i) {
    const float scaled = before[i] * 0.3f;
    EXPECT_EQ(x[i], scaled + bias[i]);
    EXPECT_EQ(without[i], scaled);
  }
}

// Of a row of a + b.
std::vector<double> plain_layer_norm(const LayerNormRows& args, int64_t row) {
  const int64_t width = args.width;
  std::vector<double> x(width);
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < width; ++i) {
    x[i] = args.a[row * width + i] + args.b[row * width + i];
    mean += x[i] / static_cast<double>(width);
  }
  for (const double value : x) variance += std::pow(value - mean, 2) / static_cast<double>(width);
  for (int64_t i = 0; i < width; ++i)
    x[i] = (x[i] - mean) / std::sqrt(variance + args.epsilon) * args.gamma[i] + args.beta[i];
  return x;
}

// More rows than go side by side, and some besides.
TEST_P(EveryTable, LayerNormMatchesDoubles) {
  for (int64_t width : {1, 2, 15, 16, 17, 384, 770}) {
    for (int64_t rows : {1, 2, 3, 4, 7, 9}) {
      const auto a = random_floats(rows * width, 4, 1), b = random_floats(rows * width, 4, 2);
      const auto gamma = random_floats(width, 2, 3), beta = random_floats(width, 2, 4);
      std::vector<float> out(rows * width + 1, kPoison);
      const LayerNormRows args{.rows = rows,
                               .width = width,
                               .a = a.data(),
                               .b = b.data(),
                               .gamma = gamma.data(),
                               .beta = beta.data(),
                               .epsilon = 1e-12f,
                               .out = out.data()};
      ops().layer_norm(args);
      EXPECT_TRUE(std::isnan(out.back()));  // kPoison
      if (width == 1) continue;             // no variance: rounding decides
      for (int64_t row = 0; row < rows; ++row) {
        const auto want = plain_layer_norm(args, row);
        for (int64_t i = 0; i < width; ++i)
          ASSERT_NEAR(out[row * width + i], want[i], 1e-5) << "width " << width << ", row " << row;
      }
    }
  }
}

TEST_P(EveryTable, AddsInPlace) {
  auto a = random_floats(37, 1, 1);
  const auto before = a, b = random_floats(37, 1, 2);
  ops().add(a.data(), b.data(), 37, a.data());
  for (int i = 0; i < 37; ++i) EXPECT_EQ(a[i], before[i] + b[i]);
}

std::vector<double> plain_attention(const AttentionArgs& a) {
  std::vector<double> out(a.length * a.head_dim);
  for (int64_t i = 0; i < a.length; ++i) {
    std::vector<double> p(a.length);
    double total = 0;
    for (int64_t j = 0; j < a.length; ++j) {
      double score = 0;
      for (int64_t d = 0; d < a.head_dim; ++d)
        score += double{a.q[i * a.stride + d]} * a.k[j * a.stride + d];
      total += p[j] = std::exp(score / std::sqrt(static_cast<double>(a.head_dim)));
    }
    for (int64_t j = 0; j < a.length; ++j) {
      for (int64_t d = 0; d < a.head_dim; ++d)
        out[i * a.head_dim + d] += p[j] / total * a.v[j * a.stride + d];
    }
  }
  return out;
}

using AttentionFunction = void (*)(const AttentionArgs&);

// Of random numbers, in rows of which the head is a part.
void check_head(AttentionFunction attention, int64_t length, int64_t head_dim, double tolerance) {
  const int64_t stride = head_dim + 5;
  const auto q = random_floats(length * stride, 2, 1), k = random_floats(length * stride, 2, 2);
  const auto v = random_floats(length * stride, 2, 3);
  std::vector<float> out(length * stride, kPoison);
  std::vector<int8_t> quantized(length * stride, kPoisonByte);
  const size_t scratch_bytes = attention_scratch_bytes(length, head_dim);
  AlignedBuffer scratch = poisoned(scratch_bytes + 64);
  std::memset(scratch.data() + scratch_bytes, 0x5a, 64);
  const AttentionArgs args{q.data(), k.data(), v.data(),           length,
                           head_dim, stride,   out.data(),         quantized.data(),
                           0.01f,    stride,   scratch.as<float>()};
  attention(args);
  EXPECT_EQ(scratch.data()[scratch_bytes], std::byte{0x5a}) << "wrote past its scratch";
  std::vector<int8_t> want_quantized(out.size());
  quantize(out, 0.01f, want_quantized);
  const auto want = plain_attention(args);
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t d = 0; d < head_dim; ++d) {
      ASSERT_NEAR(out[i * stride + d], want[i * head_dim + d], tolerance)
          << "length " << length << " dim " << head_dim;
      ASSERT_EQ(quantized[i * stride + d], want_quantized[i * stride + d]);
    }
    for (int64_t d = head_dim; d < stride; ++d) {
      ASSERT_TRUE(std::isnan(out[i * stride + d])) << "wrote past its row";
      ASSERT_EQ(quantized[i * stride + d], kPoisonByte);
    }
  }
}

void check_attention(AttentionFunction attention, double tolerance) {
  for (int64_t length : {1, 3, 4, 15, 16, 17, 33, 130, 300}) {
    for (int64_t head_dim : {4, 16, 24, 32, 64}) check_head(attention, length, head_dim, tolerance);
  }
}

TEST_P(EveryTable, AttentionMatchesDoubles) { check_attention(ops().attention, 3e-6); }

// bf16 keeps 8 bits: scores of up to 40 move by 0.1, values of up to 2 by 0.008.
TEST(Attention, Bf16MatchesDoubles) {
  if (!cpu_features().avx512_bf16) GTEST_SKIP() << "no instructions for bf16";
  check_attention(select_attention("bf16").run, 0.08);
#if defined(__x86_64__)
  if (cpu_features().amx_bf16) check_attention(attention_bf16_avx512, 0.08);
#endif
}

bool can_run_int8() { return cpu_features().avx512_vnni || cpu_features().avx_vnni; }

class Int8Attention : public testing::Test {
 protected:
  static constexpr int64_t kDim = 32;
  static constexpr double kTolerance = 0.04;  // of values of up to 2, which move by 0.008

  void SetUp() override {
    if (!can_run_int8()) GTEST_SKIP() << "no instructions for int8";
    run_ = select_attention("int8").run;
  }

  // Of a head that has a buffer to itself.
  AttentionArgs args(int64_t length) {
    scratch_ = poisoned(attention_scratch_bytes(length, kDim));
    out_.assign(length * kDim, kPoison);
    return {.q = q_.data(),
            .k = k_.data(),
            .v = v_.data(),
            .length = length,
            .head_dim = kDim,
            .stride = kDim,
            .out = out_.data(),
            .out_stride = kDim,
            .scratch = scratch_.as<float>()};
  }

  void check(int64_t length, double tolerance = kTolerance) {
    const AttentionArgs head = args(length);
    run_(head);
    const std::vector<double> want = plain_attention(head);
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(out_[i], want[i], tolerance) << i;
  }

  void randomize(int64_t length) {
    q_ = random_floats(length * kDim, 2, 1);
    k_ = random_floats(length * kDim, 2, 2);
    v_ = random_floats(length * kDim, 2, 3);
  }

  AttentionFunction run_ = nullptr;
  AlignedBuffer scratch_;
  std::vector<float> q_, k_, v_, out_;
};

TEST_F(Int8Attention, MatchesDoubles) {
  check_attention(run_, kTolerance);
  for (int64_t head_dim : {32, 64, 128}) {
    for (int64_t length = 1; length <= 200; length += 3)
      check_head(run_, length, head_dim, kTolerance);
  }
#if defined(__x86_64__)
  if (cpu_features().avx512_vnni && cpu_features().avx_vnni)
    check_attention(attention_s8_avxvnni, kTolerance);
#endif
}

TEST_F(Int8Attention, OneKeyLeavesItsValues) {
  randomize(1);
  run_(args(1));
  EXPECT_EQ(out_, v_);
}

// Which changes no weight, and the output as much as the values.
TEST_F(Int8Attention, KeysAndValuesMayLieFarFromZero) {
  for (int64_t length : {149, 150, 151, 152}) {
    randomize(length);
    for (float& x : k_) x += 40;
    for (float& x : v_) x -= 4000;
    check(length);
  }
}

// The first key has the weight 1, each other one 0.35 / 255: together they are a fifth of all.
TEST_F(Int8Attention, ManySmallWeightsCount) {
  q_.assign(200 * kDim, 0);
  k_ = q_;
  v_.assign(200 * kDim, 1);
  for (int64_t i = 0; i < 200; ++i) q_[i * kDim] = 8;
  k_[0] = 4.66f;
  std::fill_n(v_.begin(), kDim, -1.0f);
  check(200, 0.01);
}

TEST_F(Int8Attention, ScoresMayBeLarge) {
  randomize(150);
  std::fill(q_.begin(), q_.end(), 0.0f);
  k_ = q_;
  for (int64_t i = 0; i < 150; ++i) {
    q_[i * kDim] = i % 2 == 0 ? 100.0f : -100.0f;
    k_[i * kDim] = 100.0f * static_cast<float>(i);
  }
  run_(args(150));
  for (int64_t i = 0; i < 150; ++i) {
    const int64_t key = i % 2 == 0 ? 149 : 0;
    for (int64_t d = 0; d < kDim; ++d)
      ASSERT_NEAR(out_[i * kDim + d], v_[key * kDim + d], 0.01) << i;
  }
}

TEST_F(Int8Attention, ValuesMayBeOfAnySize) {
  for (float size : {0.0f, 1e-20f, 1e20f}) {
    randomize(40);
    for (float& x : v_) x *= size;
    check(40, kTolerance * size);
  }
  std::fill(q_.begin(), q_.end(), 0.0f);
  std::fill(k_.begin(), k_.end(), 0.0f);
  v_ = random_floats(40 * kDim, 2, 3);
  check(40);
}

TEST(Attention, IsChosenByNameOrVariable) {
  EXPECT_EQ(select_attention("").run, vector_ops().attention);
  EXPECT_EQ(select_attention("f32").run, vector_ops().attention);
  EXPECT_EQ(select_attention("").name, "f32");
  EXPECT_EQ(error_of([] { select_attention("int4"); }),
            "[attention] no attention is named 'int4'. There are: f32, bf16, int8");
  ASSERT_EQ(setenv("TWOFOUR_ATTENTION", "int4", 1), 0);
  EXPECT_EQ(error_of([] { select_attention(""); }),
            "[TWOFOUR_ATTENTION] no attention is named 'int4'. There are: f32, bf16, int8");
  EXPECT_EQ(select_attention("f32").run, vector_ops().attention);
  ASSERT_EQ(unsetenv("TWOFOUR_ATTENTION"), 0);
}

TEST(Attention, NeedsTheInstructions) {
  const auto check = [](const std::string& name, bool present, const std::string& lacks) {
    if (!present) {
      EXPECT_EQ(error_of([&] { select_attention(name); }),
                "[attention] " + name + " needs " + lacks + ", which this machine lacks. Use f32");
      return;
    }
    EXPECT_EQ(select_attention(name).name, name);
    EXPECT_NE(select_attention(name).run, vector_ops().attention);
  };
  check("bf16", cpu_features().avx512_bf16, "AVX-512 BF16");
  check("int8", can_run_int8(), "AVX-512 VNNI or AVX-VNNI");
}

TEST_P(EveryTable, GivesTheSameBitsAsThePortableOne) {
  const VectorOps& portable = *vector_ops_list().back();
  const auto x = random_floats(1001, 6);
  auto a = x, b = x;
  ops().activate(ActivationKind::kGelu, a.data(), 1001);
  portable.activate(ActivationKind::kGelu, b.data(), 1001);
  EXPECT_EQ(a, b);
  std::fill(a.begin(), a.end(), kPoison);
  std::fill(b.begin(), b.end(), kPoison);
  std::vector<int8_t> p(1001, kPoisonByte), q(1001, kPoisonByte);
  for (const int64_t width : {1001, 143, 77}) {  // 1, 7 and 13 rows
    LayerNormRows args{.rows = 1001 / width,
                       .width = width,
                       .a = x.data(),
                       .gamma = x.data(),
                       .beta = x.data(),
                       .epsilon = 1e-12f,
                       .out = a.data(),
                       .quantized = p.data(),
                       .output_scale = 0.03f};
    ops().layer_norm(args);
    args.out = b.data();
    args.quantized = q.data();
    portable.layer_norm(args);
    EXPECT_EQ(a, b);
    EXPECT_EQ(p, q);
  }
  portable.quantize(b.data(), 1001, 0.03f, 0, q.data());
  EXPECT_EQ(p, q);
}

INSTANTIATE_TEST_SUITE_P(All, EveryTable, testing::ValuesIn(vector_ops_list()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace twofour
