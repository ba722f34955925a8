// The encoder's kernels, run on the host as on a device, against the CPU engine's functions.
#include "twofour/backend/cuda/encoder_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/kernel_launch.h"
#include "twofour/backend/vector_ops.h"
#include "twofour/quant/quantize.h"

namespace twofour::cuda {
namespace {

constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};

std::vector<float> random_floats(int64_t count, uint32_t seed, float range = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-range, range);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

// Numbers in device memory of a type, which rounds them.
class DeviceArray {
 public:
  DeviceArray(DType type, int64_t count) : type_(type), bytes_(count * dtype_bytes(type) + 16) {
    std::fill(bytes_.begin(), bytes_.end(), 0x5a);
  }
  DeviceArray(DType type, const std::vector<float>& values)
      : DeviceArray(type, static_cast<int64_t>(values.size())) {
    for (size_t i = 0; i < values.size(); ++i) set(i, values[i]);
  }

  void* data() { return bytes_.data() + offset(); }
  float operator[](size_t i) {
    float value = 0;
    with_float_type(type_, [&]<class T>() { value = to_float(static_cast<T*>(data())[i]); });
    return value;
  }
  void set(size_t i, float value) {
    with_float_type(type_, [&]<class T>() { store(value, 1, static_cast<T*>(data())[i]); });
  }
  std::vector<float> values(int64_t count) {
    std::vector<float> out;
    for (int64_t i = 0; i < count; ++i) out.push_back((*this)[i]);
    return out;
  }

 private:
  size_t offset() const { return (16 - reinterpret_cast<uintptr_t>(bytes_.data()) % 16) % 16; }

  DType type_;
  std::vector<uint8_t> bytes_;
};

float epsilon_of(DType type) {
  return type == DType::kF32 ? 1e-6f : type == DType::kF16 ? 1.0f / 1024 : 1.0f / 128;
}

// Of two quantized forms of nearly the same floats.
void expect_same_but_for_rounding(const std::vector<int8_t>& found,
                                  const std::vector<int8_t>& want) {
  int64_t different = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_LE(std::abs(found[i] - want[i]), 1) << i;
    different += found[i] != want[i];
  }
  EXPECT_LE(different, static_cast<int64_t>(want.size() / 100 + 1));
}

struct NormCase {
  int64_t rows, width;
  bool scaled, residual;
};

const NormCase kNormCases[] = {{1, 4, false, false},    {5, 16, true, true},
                               {3, 384, true, true},    {2, 516, false, true},
                               {2, 1024, false, false}, {1, 2048, true, true}};

class Norm : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, Norm, testing::ValuesIn(kFloats),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

// The CPU engine's LayerNorm of the same numbers.
void expect_layer_norm(const NormCase& c, const std::vector<float>& x, const NormArgs& args,
                       DType type, DeviceArray& y, const std::vector<int8_t>& quantized) {
  std::vector<float> want(x.size());
  std::vector<int8_t> want_quantized(x.size());
  vector_ops().layer_norm({.rows = c.rows,
                           .width = c.width,
                           .a = x.data(),
                           .gamma = args.gamma,
                           .beta = args.beta,
                           .epsilon = args.epsilon,
                           .out = want.data(),
                           .quantized = want_quantized.data(),
                           .output_scale = args.output_scale});
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(y[i], want[i], epsilon_of(type) * std::max(1.0f, std::fabs(want[i]))) << i;
  expect_same_but_for_rounding(
      {quantized.begin(), quantized.begin() + static_cast<int64_t>(want.size())}, want_quantized);
}

struct NormOutputs {
  NormOutputs(const NormCase& c, DType type, NormArgs& args)
      : gamma(random_floats(c.width, 7)),
        beta(random_floats(c.width, 8)),
        y(type, (c.rows + 3) * c.width),
        quantized((c.rows + 3) * c.width, 99),
        rows(static_cast<int32_t>(c.rows)) {
    args.rows = &rows;
    args.width = c.width;
    args.gamma = gamma.data();
    args.beta = beta.data();
    args.epsilon = 1e-5f;
    args.y = y.data();
    args.quantized = quantized.data();
    args.output_scale = 0.02f;
  }
  std::vector<float> gamma, beta;
  DeviceArray y;
  std::vector<int8_t> quantized;
  int32_t rows;
};

TEST_P(Norm, OfIntegerProducts) {
  for (const NormCase& c : kNormCases) {
    const int64_t count = c.rows * c.width;
    std::mt19937 random(3);
    alignas(16) static int32_t product[16384];
    for (int64_t i = 0; i < count; ++i) product[i] = static_cast<int32_t>(random() % 20000) - 10000;
    const auto scales = random_floats(c.width, 4), bias = random_floats(c.width, 5);
    DeviceArray residual(GetParam(), random_floats(count, 6));
    LayerNormArgs args;
    NormOutputs outputs(c, GetParam(), args);
    args.product = product;
    args.input_scale = 1e-3f;
    args.weight_scales = scales.data();
    args.bias = bias.data();
    args.residual = c.residual ? residual.data() : nullptr;
    std::vector<float> x(count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t j = i % c.width;
      x[i] = static_cast<float>(product[i]) * (args.input_scale * scales[j]);
      x[i] += bias[j];
      if (c.residual) x[i] += residual[i];
    }
    launch_layer_norm(HostLauncher{}, DType::kI32, GetParam(), c.rows + 3, args);
    expect_layer_norm(c, x, args, GetParam(), outputs.y, outputs.quantized);
    for (int64_t i = count; i < count + 3 * c.width; ++i) ASSERT_EQ(outputs.quantized[i], 99);
  }
}

TEST_P(Norm, OfFloatProducts) {
  for (const NormCase& c : kNormCases) {
    const int64_t count = c.rows * c.width;
    DeviceArray product(GetParam(), random_floats(count, 3, 4));
    DeviceArray residual(GetParam(), random_floats(count, 6));
    const auto bias = random_floats(c.width, 5);
    LayerNormArgs args;
    NormOutputs outputs(c, GetParam(), args);
    args.product = product.data();
    args.bias = c.scaled ? bias.data() : nullptr;
    args.residual = c.residual ? residual.data() : nullptr;
    std::vector<float> x(count);
    for (int64_t i = 0; i < count; ++i) {
      x[i] = product[i] + (c.scaled ? bias[i % c.width] : 0.0f);
      if (c.residual) x[i] += residual[i];
    }
    launch_layer_norm(HostLauncher{}, GetParam(), GetParam(), c.rows + 3, args);
    expect_layer_norm(c, x, args, GetParam(), outputs.y, outputs.quantized);
  }
}

TEST_P(Norm, StoresWhatIsAskedFor) {
  const NormCase c{2, 16, false, false};
  DeviceArray product(GetParam(), random_floats(c.rows * c.width, 3));
  LayerNormArgs args;
  NormOutputs outputs(c, GetParam(), args);
  args.product = product.data();
  args.y = nullptr;
  launch_layer_norm(HostLauncher{}, GetParam(), GetParam(), c.rows, args);
  EXPECT_NE(outputs.quantized[0], 99);
  args.y = outputs.y.data();
  args.quantized = nullptr;
  launch_layer_norm(HostLauncher{}, GetParam(), GetParam(), c.rows, args);
  EXPECT_NEAR(outputs.y[5] / args.output_scale, outputs.quantized[5],
              0.6 + 127 * epsilon_of(GetParam()));
}

TEST_P(Norm, StoresE4m3) {
  const NormCase c{2, 16, false, false};
  DeviceArray product(GetParam(), random_floats(c.rows * c.width, 3));
  LayerNormArgs args;
  NormOutputs outputs(c, GetParam(), args);
  args.product = product.data();
  args.e4m3 = true;
  launch_layer_norm(HostLauncher{}, GetParam(), GetParam(), c.rows, args);
  for (int64_t i = 0; i < c.rows * c.width; ++i) {
    const float y = outputs.y[i];
    ASSERT_NEAR(e4m3_to_f32(static_cast<uint8_t>(outputs.quantized[i])) * args.output_scale, y,
                std::fabs(y) * (1.0f / 16 + epsilon_of(GetParam())) + args.output_scale / 1024);
  }
}

TEST_P(Norm, OfEmbeddings) {
  const NormCase c{7, 24, false, false};
  const int32_t ids[] = {3, 0, 9, 9, 1, 2, 40}, type_ids[] = {0, 1, 0, 1, 1, 0, 0};
  const int32_t offsets[] = {0, 3, 4, 7}, sequences = 3;
  const int32_t positions[] = {0, 1, 2, 0, 0, 1, 2};
  DeviceArray word(GetParam(), random_floats(10 * c.width, 1));
  DeviceArray type(GetParam(), random_floats(2 * c.width, 2));
  DeviceArray position(GetParam(), random_floats(4 * c.width, 3));
  EmbeddingArgs args;
  NormOutputs outputs(c, GetParam(), args);
  args.sequences = &sequences;
  args.ids = ids;
  args.type_ids = type_ids;
  args.offsets = offsets;
  args.word = word.data();
  args.type = type.data();
  args.position = position.data();
  args.words = 10;
  args.types = 2;
  args.positions = 4;
  std::vector<float> x;
  for (int64_t t = 0; t < c.rows; ++t) {
    const int64_t id = std::min(ids[t], 9);  // one that the table has not
    for (int64_t j = 0; j < c.width; ++j) {
      x.push_back(word[id * c.width + j] + type[type_ids[t] * c.width + j] +
                  position[positions[t] * c.width + j]);
    }
  }
  launch_embedding(HostLauncher{}, GetParam(), c.rows + 3, args);
  expect_layer_norm(c, x, args, GetParam(), outputs.y, outputs.quantized);
}

TEST(SequenceOf, FindsEveryToken) {
  const int32_t offsets[] = {0, 1, 4, 5, 9};
  std::vector<int32_t> found;
  for (int32_t token = 0; token < 9; ++token) found.push_back(sequence_of(offsets, 4, token));
  EXPECT_THAT(found, testing::ElementsAre(0, 1, 1, 1, 2, 3, 3, 3, 3));
}

struct AttentionCase {
  DType type;
  int64_t heads, head_dim;
};

std::string case_name(const testing::TestParamInfo<AttentionCase>& info) {
  return std::string(dtype_name(info.param.type)) + "_" + std::to_string(info.param.heads) + "x" +
         std::to_string(info.param.head_dim);
}

class Attention : public testing::TestWithParam<AttentionCase> {};
INSTANTIATE_TEST_SUITE_P(
    Types, Attention,
    testing::Values(AttentionCase{DType::kF32, 2, 8}, AttentionCase{DType::kF32, 1, 256},
                    AttentionCase{DType::kF32, 2, 64}, AttentionCase{DType::kF16, 3, 8},
                    AttentionCase{DType::kBF16, 1, 48}, AttentionCase{DType::kF16, 2, 16},
                    AttentionCase{DType::kF16, 2, 32}, AttentionCase{DType::kF16, 1, 64},
                    AttentionCase{DType::kF16, 1, 128}, AttentionCase{DType::kBF16, 2, 16},
                    AttentionCase{DType::kBF16, 2, 32}, AttentionCase{DType::kBF16, 1, 64},
                    AttentionCase{DType::kBF16, 1, 128}),
    case_name);

// In double, of the rounded inputs: q, k and v are thirds of the rows of `qkv`.
std::vector<double> plain_attention(DeviceArray& qkv, const AttentionCase& c,
                                    const std::vector<int32_t>& offsets) {
  const int64_t width = c.heads * c.head_dim, stride = 3 * width;
  std::vector<double> out(offsets.back() * width, 0.0);
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i) {
      for (int64_t h = 0; h < c.heads; ++h) {
        std::vector<double> weights;
        for (int64_t j = offsets[s]; j < offsets[s + 1]; ++j) {
          double score = 0;
          for (int64_t d = h * c.head_dim; d < (h + 1) * c.head_dim; ++d)
            score += double{qkv[i * stride + d]} * qkv[j * stride + width + d];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(c.head_dim))));
        }
        const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (int64_t j = offsets[s]; j < offsets[s + 1]; ++j) {
          for (int64_t d = h * c.head_dim; d < (h + 1) * c.head_dim; ++d)
            out[i * width + d] += weights[j - offsets[s]] / total * qkv[j * stride + 2 * width + d];
        }
      }
    }
  }
  return out;
}

TEST_P(Attention, EqualsThePlainOne) {
  const AttentionCase c = GetParam();
  const std::vector<int32_t> offsets = {0, 1, 17, 82, 152, 285};  // 1, 16, 65, 70, 133 tokens
  const auto sequences = static_cast<int32_t>(offsets.size() - 1);
  const int64_t tokens = offsets.back(), width = c.heads * c.head_dim, stride = 3 * width;
  DeviceArray qkv(c.type, random_floats(tokens * stride, 11, 2));
  DeviceArray out(c.type, (tokens + 1) * width);
  std::vector<int8_t> quantized((tokens + 1) * width, 99);
  const auto column = [&](int64_t i) {
    return static_cast<std::byte*>(qkv.data()) + i * width * dtype_bytes(c.type);
  };
  DeviceAttentionArgs args;
  args.sequences = &sequences;
  args.offsets = offsets.data();
  args.q = column(0);
  args.k = column(1);
  args.v = column(2);
  args.stride = stride;
  args.head_dim = c.head_dim;
  args.scale = kLog2E / std::sqrt(static_cast<float>(c.head_dim));
  args.out = out.data();
  args.quantized = quantized.data();
  args.out_stride = width;
  args.output_scale = 0.02f;
  EXPECT_EQ(suits_tensor_cores(c.type, args),
            c.type != DType::kF32 && c.head_dim != 8 && c.head_dim != 48);
  // As many as a bucket may hold, rather than the batch does.
  launch_attention(HostLauncher{}, c.type, {sequences + 3, c.heads, 192}, args);

  const std::vector<double> want = plain_attention(qkv, c, offsets);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(out[i], want[i], 3 * epsilon_of(c.type)) << "token " << i / width;
    ASSERT_NEAR(quantized[i] * args.output_scale, want[i],
                0.51 * args.output_scale + 3 * epsilon_of(c.type));
  }
  for (int64_t i = tokens * width; i < (tokens + 1) * width; ++i) ASSERT_EQ(quantized[i], 99);

  args.e4m3 = true;
  launch_attention(HostLauncher{}, c.type, {sequences, c.heads, 192}, args);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(e4m3_to_f32(static_cast<uint8_t>(quantized[i])) * args.output_scale, want[i],
                std::fabs(want[i]) / 15 + args.output_scale / 1024 + 4 * epsilon_of(c.type));
  }
}

TEST_P(Attention, LargeScoresStayFinite) {
  const AttentionCase c = GetParam();
  const int32_t offsets[] = {0, 70}, sequences = 1;
  const int64_t width = c.heads * c.head_dim;
  DeviceArray qkv(c.type, random_floats(70 * 3 * width, 11, 100));
  DeviceArray out(c.type, 70 * width);
  DeviceAttentionArgs args;
  args.sequences = &sequences;
  args.offsets = offsets;
  args.q = args.k = args.v = qkv.data();
  args.stride = 3 * width;
  args.head_dim = c.head_dim;
  args.scale = kLog2E / std::sqrt(static_cast<float>(c.head_dim));
  args.out = out.data();
  args.out_stride = width;
  launch_attention(HostLauncher{}, c.type, {1, c.heads, 70}, args);
  // With such scores each query is nearly its own key's value alone, where keys are the queries.
  for (int64_t i = 0; i < 70 * width; ++i) ASSERT_TRUE(std::isfinite(out[i])) << i;
}

class Sequences : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, Sequences, testing::ValuesIn(kFloats),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

TEST_P(Sequences, ArePooled) {
  const int32_t offsets[] = {0, 1, 4, 9}, sequences = 3;
  const int64_t width = 150;
  DeviceArray x(GetParam(), random_floats(9 * width, 1));
  for (Pooling pooling : {Pooling::kCls, Pooling::kMean, Pooling::kMax}) {
    DeviceArray y(GetParam(), 5 * width);
    PoolArgs args{&sequences, offsets, pooling, x.data(), width, y.data()};
    launch_pool(HostLauncher{}, GetParam(), 5, args);
    for (int64_t s = 0; s < 3; ++s) {
      for (int64_t j = 0; j < width; ++j) {
        float want = x[offsets[s] * width + j];
        for (int64_t t = offsets[s] + 1; t < offsets[s + 1] && pooling != Pooling::kCls; ++t) {
          const float next = x[t * width + j];
          want = pooling == Pooling::kMax ? std::max(want, next) : want + next;
        }
        if (pooling == Pooling::kMean) want /= static_cast<float>(offsets[s + 1] - offsets[s]);
        ASSERT_NEAR(y[s * width + j], want, epsilon_of(GetParam()) * 2);
      }
    }
  }
}

TEST_P(Sequences, AreNormalized) {
  const int64_t width = 77;
  const int32_t rows = 2;
  DeviceArray x(GetParam(), random_floats(3 * width, 1));
  for (int64_t j = 0; j < width; ++j) x.set(width + j, 0);
  std::vector<float> y(3 * width, 5);
  launch_normalize(HostLauncher{}, GetParam(), 3, {&rows, x.data(), width, y.data()});
  double squares = 0;
  for (int64_t j = 0; j < width; ++j) squares += double{x[j]} * x[j];
  for (int64_t j = 0; j < width; ++j) {
    EXPECT_NEAR(y[j], x[j] / std::sqrt(squares), 1e-6);
    EXPECT_EQ(y[width + j], 0);
    EXPECT_EQ(y[2 * width + j], 5);
  }
}

TEST_P(Sequences, HeadsMultiply) {
  const int64_t n = 5, k = 70;
  const int32_t rows = 3;
  DeviceArray x(GetParam(), random_floats(4 * k, 1));
  const auto weight = random_floats(n * k, 2), bias = random_floats(n, 3);
  for (std::optional<ActivationKind> activation :
       {std::optional<ActivationKind>{}, std::optional(ActivationKind::kTanh),
        std::optional(ActivationKind::kRelu)}) {
    std::vector<float> y(4 * n, 5);
    HeadArgs args{&rows, x.data(), weight.data(), bias.data(), n, k};
    args.activated = activation.has_value();
    if (activation) args.activation = *activation;
    args.y = y.data();
    launch_head(HostLauncher{}, GetParam(), 4, args);
    for (int64_t row = 0; row < 3; ++row) {
      for (int64_t j = 0; j < n; ++j) {
        double want = bias[j];
        for (int64_t i = 0; i < k; ++i) want += double{x[row * k + i]} * weight[j * k + i];
        if (activation == ActivationKind::kTanh) want = std::tanh(want);
        if (activation == ActivationKind::kRelu) want = std::max(want, 0.0);
        ASSERT_NEAR(y[row * n + j], want, 1e-5);
      }
    }
    for (int64_t j = 0; j < n; ++j) ASSERT_EQ(y[3 * n + j], 5);
  }
}

TEST(TakeBatch, CopiesAll) {
  for (int32_t tokens : {3, 300}) {
    const int32_t sequences = tokens == 3 ? 3 : 2;
    std::vector<int32_t> ids(tokens), types(tokens), offsets(sequences + 1);
    std::iota(ids.begin(), ids.end(), 5);
    std::iota(types.begin(), types.end(), 900);
    std::iota(offsets.begin(), offsets.end(), 70);
    std::vector<int32_t> to_ids(400, -1), to_types(400, -1), to_offsets(10, -1), counts(2);
    launch_take_batch(HostLauncher{},
                      {ids.data(), types.data(), offsets.data(), tokens, sequences, counts.data(),
                       to_ids.data(), to_types.data(), to_offsets.data()});
    EXPECT_THAT(counts, testing::ElementsAre(tokens, sequences));
    ids.resize(400, -1);
    types.resize(400, -1);
    offsets.resize(10, -1);
    EXPECT_EQ(to_ids, ids);
    EXPECT_EQ(to_types, types);
    EXPECT_EQ(to_offsets, offsets);
  }
}

}  // namespace
}  // namespace twofour::cuda
