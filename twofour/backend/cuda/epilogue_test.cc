// The epilogue kernel's indices and arithmetic, run on the host, against the CPU engine's.
#include "twofour/backend/cuda/epilogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "twofour/backend/cuda/epilogue_launch.h"
#include "twofour/backend/matmul.h"
#include "twofour/backend/vector_ops.h"
#include "twofour/base/aligned_buffer.h"
#include "twofour/base/error.h"
#include "twofour/quant/quantize.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

// Bits of a float, so that -0 and NaN count.
uint32_t bits(float value) {
  uint32_t out;
  std::memcpy(&out, &value, sizeof out);
  return out;
}

// All exponents and both signs, rounding boundaries, infinities and NaN.
std::vector<float> many_floats() {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               0.5f,
                               -0.5f,
                               1.5f,
                               6.0f,
                               -6.0f,
                               1e-40f,
                               -1e-40f,
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::max()};
  for (float x = -9; x <= 9; x += 1.0f / 512) values.push_back(x);
  std::mt19937 random(3);
  for (int i = 0; i < 200000; ++i) {
    const uint32_t pattern = random();
    float value;
    std::memcpy(&value, &pattern, sizeof value);
    if (!std::isnan(value)) values.push_back(value);
  }
  return values;
}

TEST(EpilogueMath, GeluIsTheEnginesBitForBit) {
  const std::vector<float> x = many_floats();
  std::vector<float> want = x;
  vector_ops().activate(ActivationKind::kGelu, want.data(), static_cast<int64_t>(want.size()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(bits(gelu(x[i])), bits(want[i])) << x[i];
}

TEST(EpilogueMath, ReluIsTheEnginesBitForBit) {
  const std::vector<float> x = many_floats();
  std::vector<float> want = x;
  vector_ops().activate(ActivationKind::kRelu, want.data(), static_cast<int64_t>(want.size()));
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(bits(activate<EpilogueActivation::kRelu>(x[i])), bits(want[i])) << x[i];
}

TEST(EpilogueMath, TanhAndItsGeluAreTheEnginesBitForBit) {
  std::vector<float> x = many_floats();
  std::erase_if(x, [](float value) { return std::fabs(value) > 1e12f; });  // cubes overflow
  std::vector<float> tanhs = x, gelus = x;
  vector_ops().activate(ActivationKind::kTanh, tanhs.data(), static_cast<int64_t>(x.size()));
  vector_ops().activate(ActivationKind::kGeluTanh, gelus.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(bits(hyperbolic_tangent(x[i])), bits(tanhs[i])) << x[i];
    ASSERT_EQ(bits(gelu_tanh(x[i])), bits(gelus[i])) << x[i];
  }
}

TEST(EpilogueMath, GeluIsTheErfForm) {
  for (double x = -10; x < 10; x += 0.001) {
    const double exact = 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    ASSERT_NEAR(gelu(static_cast<float>(x)), exact, 1e-6);
  }
}

TEST(EpilogueMath, QuantizesAsQuantizeValueDoes) {
  for (float scale : {1.0f, 0.05f, 1e-30f, 3.7f}) {
    for (float x : many_floats())
      ASSERT_EQ(quantize_to_s8(x, scale), quantize_value(x, scale)) << x;
  }
  EXPECT_EQ(quantize_to_s8(std::numeric_limits<float>::quiet_NaN(), 1), 0);
}

TEST(EpilogueMath, E4m3IsTheHosts) {
  for (float x : many_floats()) ASSERT_EQ(e4m3_bits(x), f32_to_e4m3(x)) << x;
  for (float x = -500; x <= 500; x += 1.0f / 1024) ASSERT_EQ(e4m3_bits(x), f32_to_e4m3(x)) << x;
  EXPECT_EQ(e4m3_bits(std::numeric_limits<float>::quiet_NaN()), 0x7f);
  EXPECT_EQ(static_cast<uint8_t>(quantize_to_byte(-6, 0.5f, true)), f32_to_e4m3(-12));
  EXPECT_EQ(quantize_to_byte(-6, 0.5f, false), -12);
}

TEST(EpilogueMath, ScaleAndBiasAreDequantizeSums) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-3, 3);
  for (int i = 0; i < 100000; ++i) {
    const auto sum = static_cast<int32_t>(random());
    const float s = uniform(random), w = uniform(random), b = uniform(random);
    ASSERT_EQ(bits(multiply_then_add(to_float(sum), s * w, b)), bits(dequantize_sum(sum, s, w, b)));
  }
}

struct Case {
  int64_t m, n, x_gap, y_gap;  // gaps between rows, in elements
  int threads;
  bool scales = true, bias = true;
};

const Case kCases[] = {{1, 4, 0, 0, 1},         {3, 16, 0, 0, 5},
                       {5, 8, 4, 8, 7},         {17, 32, 16, 4, 1000},
                       {2, 64, 0, 0, 3, false}, {4, 12, 0, 12, 6, true, false},
                       {0, 16, 0, 0, 4},        {33, 20, 0, 4, 64, false, false}};

template <class In>
In input_from(std::mt19937& random) {
  if constexpr (std::is_same_v<In, int32_t>) {
    return static_cast<int32_t>(random() % 40000) - 20000;
  } else {
    const float value = std::uniform_real_distribution<float>(-4, 4)(random);
    In out;
    store(value, 1, out);
    return out;
  }
}

float input_as_float(float x) { return x; }
float input_as_float(int32_t x) { return static_cast<float>(x); }
float input_as_float(F16 x) { return f16_to_f32(x.bits); }
float input_as_float(Bf16 x) { return bf16_to_f32(x.bits); }

void expect_output(float value, float scale, int8_t y) {
  ASSERT_EQ(y, quantize_value(value, scale));
}
void expect_output(float value, float scale, E4m3 y) {
  ASSERT_EQ(y.bits, f32_to_e4m3(value / scale));
}
void expect_output(float value, float, float y) { ASSERT_EQ(bits(y), bits(value)); }
void expect_output(float value, float, F16 y) { ASSERT_EQ(y.bits, f32_to_f16(value)); }
void expect_output(float value, float, Bf16 y) { ASSERT_EQ(y.bits, f32_to_bf16(value)); }

// One run of all "threads" of a launch, in an order of no meaning, against the engine's functions.
template <EpilogueActivation kActivation, class In, class Out>
void compare(const Case& c, std::optional<ActivationKind> activation) {
  std::mt19937 random(static_cast<uint32_t>(c.m * 100 + c.n));
  const int64_t x_stride = c.n + c.x_gap, y_stride = c.n + c.y_gap;
  AlignedBuffer x((c.m + 1) * x_stride * sizeof(In)), y((c.m + 1) * y_stride * sizeof(Out));
  for (int64_t i = 0; i < (c.m + 1) * x_stride; ++i) x.as<In>()[i] = input_from<In>(random);
  std::memset(y.data(), 0x5a, y.size());
  std::vector<float> scales(c.n), bias(c.n);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (float& value : scales) value = uniform(random) * (std::is_same_v<In, int32_t> ? 1e-2f : 1);
  for (float& value : bias) value = uniform(random);
  EpilogueArgs args{x.data(), y.data(), c.m, c.n, x_stride, y_stride};
  args.input_scale = std::is_same_v<In, int32_t> ? 0.03f : 1.0f;
  args.weight_scales = c.scales ? scales.data() : nullptr;
  args.bias = c.bias ? bias.data() : nullptr;
  args.output_scale = 0.02f;
  for (int thread = c.threads - 1; thread >= 0; --thread)
    epilogue_thread<kActivation, In, Out>(args, thread, c.threads);

  for (int64_t row = 0; row <= c.m; ++row) {
    for (int64_t column = 0; column < y_stride; ++column) {
      const Out found = y.as<Out>()[row * y_stride + column];
      if (row == c.m || column >= c.n) {  // behind the rows and between them: untouched
        Out untouched;
        std::memset(&untouched, 0x5a, sizeof untouched);
        // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): bytes are what is meant
        ASSERT_EQ(std::memcmp(&found, &untouched, sizeof found), 0) << row << ' ' << column;
        continue;
      }
      const In in = x.as<In>()[row * x_stride + column];
      const float w = c.scales ? scales[column] : 1, b = c.bias ? bias[column] : 0;
      float want = input_as_float(in) * (args.input_scale * w) + b;
      if constexpr (std::is_same_v<In, int32_t>) want = dequantize_sum(in, args.input_scale, w, b);
      if (activation) vector_ops().activate(*activation, &want, 1);
      expect_output(want, args.output_scale, found);
    }
  }
}

TEST(Epilogue, EveryTypeAndActivation) {
  std::vector<std::optional<ActivationKind>> activations = {std::nullopt};
  for (ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kGelu,
                              ActivationKind::kGeluTanh, ActivationKind::kTanh})
    activations.emplace_back(kind);
  for (DType input : {DType::kI32, DType::kF16, DType::kBF16, DType::kF32}) {
    for (DType output : {DType::kI8, DType::kF8E4M3, DType::kF16, DType::kBF16, DType::kF32}) {
      for (std::optional<ActivationKind> activation : activations) {
        for (const Case& c : kCases) {
          with_epilogue_types(input, output, activation,
                              [&]<EpilogueActivation kActivation, class In, class Out>() {
                                compare<kActivation, In, Out>(c, activation);
                              });
        }
      }
    }
  }
}

TEST(Epilogue, RefusesWhatTheKernelCannotDo) {
  AlignedBuffer memory(1024);
  const EpilogueArgs good{memory.data(), memory.data(), 2, 8, 8, 8};
  const auto error = [&](DType in, DType out,
                         const std::function<void(EpilogueArgs&)>& change) -> std::string {
    EpilogueArgs args = good;
    change(args);
    try {
      check_epilogue(in, out, args);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const auto with = [&](const std::function<void(EpilogueArgs&)>& change) {
    return error(DType::kI32, DType::kI8, change);
  };
  const auto same = [](EpilogueArgs&) {};
  EXPECT_EQ(with(same), "no error");
  EXPECT_THAT(error(DType::kI8, DType::kI8, same), HasSubstr("the input is I8"));
  EXPECT_THAT(error(DType::kI32, DType::kI32, same), HasSubstr("the output is I32"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.n = 6; }),
              HasSubstr("n is 6, expected a multiple of 4"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.m = -1; }), HasSubstr("m is -1"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.x_stride = 9; }), HasSubstr("x_stride is 9"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.y_stride = 4; }), HasSubstr("expected at least n, 8"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.x = static_cast<const char*>(a.x) + 4; }),
              HasSubstr("x is at"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.y = nullptr; }), HasSubstr("y is at"));
  EXPECT_THAT(with([](EpilogueArgs& a) { a.output_scale = 0; }), HasSubstr("output_scale is 0"));
}

}  // namespace
}  // namespace twofour::cuda
