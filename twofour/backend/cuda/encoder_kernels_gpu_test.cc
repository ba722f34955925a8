// The kernels on a GPU against the same bodies on the host. Skipped where there is no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "twofour/backend/cuda/device.h"
#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/kernel_launch.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

// Host memory and its copy on the device.
template <class T>
class Mirrored {
 public:
  Mirrored(Runtime& runtime, std::vector<T> values)
      : runtime_(runtime), host(std::move(values)), device_(runtime, bytes(), "test") {
    check(runtime, runtime.copy(device_.data(), host.data(), bytes(), nullptr), "copy");
  }
  T* device() const { return reinterpret_cast<T*>(device_.data()); }
  std::vector<T> fetched() const {
    std::vector<T> out(host.size());
    check(runtime_, runtime_.copy(out.data(), device_.data(), bytes(), nullptr), "copy");
    check(runtime_, runtime_.synchronize(nullptr), "synchronize");
    return out;
  }

 private:
  size_t bytes() const { return host.size() * sizeof(T); }
  Runtime& runtime_;

 public:
  std::vector<T> host;

 private:
  DeviceBuffer device_;
};

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    try {
      device_ = std::make_unique<Device>(nvidia_libraries(), 0, encoder_buckets(1024));
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }

  Runtime& runtime() const { return device_->runtime(); }
  EncoderKernels& kernels() const { return device_->kernels(); }

  template <class T>
  Mirrored<T> mirrored(std::vector<T> values) const {
    return {runtime(), std::move(values)};
  }
  Mirrored<float> floats(size_t count, float range = 1) {
    std::uniform_real_distribution<float> uniform(-range, range);
    std::vector<float> values(count);
    for (float& value : values) value = uniform(random_);
    return {runtime(), std::move(values)};
  }
  // As bits of `type`.
  Mirrored<std::byte> rounded(DType type, size_t count, float range = 1) {
    return {runtime(), round_to(type, floats(count, range).host)};
  }

  std::unique_ptr<Device> device_;
  std::mt19937 random_{5};
};

float at(DType type, const std::vector<std::byte>& bytes, size_t i) {
  float value = 0;
  with_float_type(
      type, [&]<class T>() { value = to_float(reinterpret_cast<const T*>(bytes.data())[i]); });
  return value;
}

constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};

float epsilon_of(DType type) {
  return type == DType::kF32 ? 2e-6f : type == DType::kF16 ? 1.0f / 1024 : 1.0f / 128;
}

// Bit for bit: this is what the engine's int8 parity rests on.
TEST_F(OnGpu, EpilogueIsTheHosts) {
  const int64_t m = 37, n = 96;
  std::vector<int32_t> sums(m * n);
  for (int32_t& sum : sums) sum = static_cast<int32_t>(random_() % 40000) - 20000;
  const auto x = mirrored(sums);
  const auto scales = floats(n, 0.01f), bias = floats(n);
  for (DType output : {DType::kI8, DType::kF8E4M3, DType::kF16, DType::kBF16, DType::kF32}) {
    for (std::optional<ActivationKind> activation :
         {std::optional<ActivationKind>{}, std::optional(ActivationKind::kRelu),
          std::optional(ActivationKind::kGelu), std::optional(ActivationKind::kGeluTanh),
          std::optional(ActivationKind::kTanh)}) {
      auto y = mirrored(std::vector<std::byte>(m * n * dtype_bytes(output)));
      EpilogueArgs args{x.device(), y.device(), m, n, n, n};
      args.input_scale = 0.03f;
      args.weight_scales = scales.device();
      args.bias = bias.device();
      args.output_scale = 0.02f;
      kernels().epilogue(DType::kI32, output, activation, args, nullptr);
      const auto found = y.fetched();
      args.x = x.host.data();
      args.y = y.host.data();
      args.weight_scales = scales.host.data();
      args.bias = bias.host.data();
      launch_epilogue(HostLauncher{}, DType::kI32, output, activation, args);
      EXPECT_EQ(found, y.host) << dtype_name(output);
    }
  }
}

TEST_F(OnGpu, LayerNormIsTheHosts) {
  const int64_t rows = 21;
  const auto count = mirrored(std::vector<int32_t>{static_cast<int32_t>(rows)});
  for (DType type : kFloats) {
    for (int64_t width : {16, 384, 768, 1024, 2048}) {
      const auto product = rounded(type, rows * width, 4), residual = rounded(type, rows * width);
      const auto gamma = floats(width), beta = floats(width), bias = floats(width);
      auto y = mirrored(std::vector<std::byte>(rows * width * dtype_bytes(type)));
      auto quantized = mirrored(std::vector<int8_t>(rows * width));
      LayerNormArgs args;
      args.width = width;
      args.epsilon = 1e-5f;
      args.output_scale = 0.02f;
      args.e4m3 = width >= 1024;
      LayerNormArgs host = args;
      const auto fill = [&](LayerNormArgs& a, auto address) {
        a.rows = address(count);
        a.gamma = address(gamma);
        a.beta = address(beta);
        a.bias = address(bias);
        a.product = address(product);
        a.residual = address(residual);
      };
      fill(args, [](const auto& memory) { return memory.device(); });
      fill(host, [](const auto& memory) { return memory.host.data(); });
      args.y = y.device();
      args.quantized = quantized.device();
      host.y = y.host.data();
      host.quantized = quantized.host.data();
      kernels().layer_norm(type, type, rows + 5, args, nullptr);
      launch_layer_norm(HostLauncher{}, type, type, rows + 5, host);
      // The sums are those of the host, in the same order: no bit may differ.
      EXPECT_EQ(y.fetched(), y.host) << dtype_name(type) << ' ' << width;
      EXPECT_EQ(quantized.fetched(), quantized.host);
    }
  }
}

TEST_F(OnGpu, EmbeddingIsTheHosts) {
  const int64_t width = 64;
  const auto ids = mirrored(std::vector<int32_t>{3, 0, 9, 9, 1, 2, 4});
  const auto types = mirrored(std::vector<int32_t>{0, 1, 0, 1, 1, 0, 0});
  const auto offsets = mirrored(std::vector<int32_t>{0, 3, 4, 7});
  const auto counts = mirrored(std::vector<int32_t>{7, 3});
  for (DType type : kFloats) {
    const auto word = rounded(type, 10 * width), kind = rounded(type, 2 * width);
    const auto position = rounded(type, 4 * width);
    const auto gamma = floats(width), beta = floats(width);
    auto y = mirrored(std::vector<std::byte>(7 * width * dtype_bytes(type)));
    const auto make = [&](auto address) {
      EmbeddingArgs a;
      a.rows = address(counts);
      a.width = width;
      a.gamma = address(gamma);
      a.beta = address(beta);
      a.epsilon = 1e-12f;
      a.sequences = address(counts) + 1;
      a.ids = address(ids);
      a.type_ids = address(types);
      a.offsets = address(offsets);
      a.word = address(word);
      a.type = address(kind);
      a.position = address(position);
      a.words = 10;
      a.types = 2;
      a.positions = 4;
      return a;
    };
    EmbeddingArgs args = make([](const auto& memory) { return memory.device(); });
    EmbeddingArgs host = make([](const auto& memory) { return memory.host.data(); });
    args.y = y.device();
    host.y = y.host.data();
    kernels().embed(type, 16, args, nullptr);
    launch_embedding(HostLauncher{}, type, 16, host);
    EXPECT_EQ(y.fetched(), y.host) << dtype_name(type);
  }
}

TEST_F(OnGpu, AttentionIsTheHosts) {
  const auto offsets = mirrored(std::vector<int32_t>{0, 1, 17, 82, 152, 285, 669});
  const auto sequences = mirrored(std::vector<int32_t>{6});
  const int64_t tokens = 669, heads = 2;
  for (DType type : kFloats) {
    for (int64_t head_dim : {8, 16, 32, 48, 64, 128}) {
      const int64_t width = heads * head_dim;
      const auto qkv = rounded(type, tokens * 3 * width, 2);
      auto out = mirrored(std::vector<std::byte>(tokens * width * dtype_bytes(type)));
      auto quantized = mirrored(std::vector<int8_t>(tokens * width));
      const auto make = [&](auto address) {
        DeviceAttentionArgs a;
        a.sequences = address(sequences);
        a.offsets = address(offsets);
        const std::byte* q = address(qkv);
        a.q = q;
        a.k = q + width * dtype_bytes(type);
        a.v = q + 2 * width * dtype_bytes(type);
        a.stride = 3 * width;
        a.head_dim = head_dim;
        a.scale = kLog2E / std::sqrt(static_cast<float>(head_dim));
        a.out_stride = width;
        a.output_scale = 0.02f;
        return a;
      };
      DeviceAttentionArgs args = make([](const auto& memory) { return memory.device(); });
      DeviceAttentionArgs host = make([](const auto& memory) { return memory.host.data(); });
      args.out = out.device();
      args.quantized = quantized.device();
      host.out = out.host.data();
      host.quantized = quantized.host.data();
      const AttentionExtent extent{16, heads, 384};
      kernels().attend(type, extent, args, nullptr);
      launch_attention(HostLauncher{}, type, extent, host);
      const auto found = out.fetched();
      // A tensor core sums in an order of its own.
      for (int64_t i = 0; i < tokens * width; ++i)
        ASSERT_NEAR(at(type, found, i), at(type, out.host, i), 3 * epsilon_of(type))
            << dtype_name(type) << ' ' << head_dim << " at " << i;
      const auto found_quantized = quantized.fetched();
      for (int64_t i = 0; i < tokens * width; ++i)
        ASSERT_LE(std::abs(found_quantized[i] - quantized.host[i]), 1);
    }
  }
}

TEST_F(OnGpu, SequencesAreTheHosts) {
  const auto offsets = mirrored(std::vector<int32_t>{0, 1, 4, 9});
  const auto count = mirrored(std::vector<int32_t>{3});
  const int64_t width = 150, n = 5;
  for (DType type : kFloats) {
    const auto x = rounded(type, 9 * width);
    for (Pooling pooling : {Pooling::kCls, Pooling::kMean, Pooling::kMax}) {
      auto y = mirrored(std::vector<std::byte>(3 * width * dtype_bytes(type)));
      kernels().pool(type, 7,
                     {count.device(), offsets.device(), pooling, x.device(), width, y.device()},
                     nullptr);
      launch_pool(
          HostLauncher{}, type, 7,
          {count.host.data(), offsets.host.data(), pooling, x.host.data(), width, y.host.data()});
      EXPECT_EQ(y.fetched(), y.host) << dtype_name(type);
    }
    auto normal = mirrored(std::vector<float>(3 * width));
    kernels().normalize(type, 7, {count.device(), x.device(), width, normal.device()}, nullptr);
    launch_normalize(HostLauncher{}, type, 7,
                     {count.host.data(), x.host.data(), width, normal.host.data()});
    EXPECT_EQ(normal.fetched(), normal.host);

    const auto weight = floats(n * width), bias = floats(n);
    auto y = mirrored(std::vector<float>(3 * n));
    HeadArgs args{count.device(), x.device(), weight.device(), bias.device(), n, width, true};
    HeadArgs host{
        count.host.data(), x.host.data(), weight.host.data(), bias.host.data(), n, width, true};
    args.y = y.device();
    host.y = y.host.data();
    kernels().head(type, 7, args, nullptr);
    launch_head(HostLauncher{}, type, 7, host);
    EXPECT_EQ(y.fetched(), y.host);
  }
}

}  // namespace
}  // namespace twofour::cuda
