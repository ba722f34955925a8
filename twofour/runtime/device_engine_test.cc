// Loading an engine on a device, over stand-ins: what runs where, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/io/testing.h"
#include "twofour/runtime/test_device_engine.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

TEST_F(DeviceEngine, LayersSayWhatRunsDenseAndWhy) {
  const auto engine = stand_in_.load(int8_model("minilm", 1));
  const LayerInfo layer = engine->layers()[0];
  EXPECT_EQ(layer.kernel, "matmul_s8_cublaslt");
  EXPECT_FALSE(layer.sparse);
  EXPECT_THAT(layer.why_dense, HasSubstr("expected a multiple of 32 for I8"));
  EXPECT_EQ(stand_in_.sparse, nullptr);  // was not needed, hence not opened

  const auto forced =
      stand_in_.load(int8_model("cross-encoder", 1), {.force_kernel = "matmul_s8_cublaslt"});
  EXPECT_EQ(forced->layers()[0].why_dense, "a dense kernel is forced");
  EXPECT_EQ(forced->options().force_kernel, "matmul_s8_cublaslt");
  EXPECT_EQ(forced->layers().back().kernel, "head_f32_cuda");
  EXPECT_GT(forced->packed_bytes(), 0u);
}

TEST_F(DeviceEngine, DevicesThatCannotBeUsed) {
  const auto error = [&](int ordinal = 0) { return error_of([&] { stand_in_.device(ordinal); }); };
  EXPECT_THAT(error(7), HasSubstr("[cuda:7] there is no such device, the last is cuda:1"));
  stand_in_.runtime.devices[1] = {"T4", 7, 5, size_t{16} << 30, 40};
  EXPECT_THAT(error(1), HasSubstr("[cuda:1] T4 has compute capability 7.5, expected 8.0 or later"));
  stand_in_.runtime.failures.next("device_count", cuda::Status::kInsufficientDriver);
  stand_in_.runtime.driver = 12020;
  EXPECT_THAT(error(), HasSubstr("the driver serves CUDA 12.2, this build needs 13.0"));
  stand_in_.runtime.failures.next("device_count", cuda::Status::kNoDevice);
  EXPECT_THAT(error(), HasSubstr("[cuda:0] no NVIDIA GPU was found"));
  stand_in_.runtime.driver = 0;
  EXPECT_THAT(error(), HasSubstr("[cuda:0] no NVIDIA driver is installed"));
}

TEST_F(DeviceEngine, OptionsThatTheDeviceLacks) {
  const ModelDirectory model = golden_model("minilm");
  const auto error = [&](const EngineOptions& options) {
    return error_of([&] { stand_in_.load(model, options); });
  };
  EXPECT_THAT(error({.precision = "fp4"}), HasSubstr("There are: f32, fp16, bf16, fp8"));
  EXPECT_THAT(error({.attention = "bf16", .precision = "fp8"}),
              HasSubstr("attention in 'bf16' beside precision 'fp8'"));
  EXPECT_THAT(error({.attention = "bf16"}),
              HasSubstr("attention in 'bf16' beside precision 'f32'"));
  EXPECT_THAT(error({.attention = "int8"}),
              HasSubstr("attention in 'int8' beside precision 'f32'"));
  EXPECT_EQ(error({.attention = "fp16", .precision = "fp16"}), "no error");
  EXPECT_THAT(error({.activation_scales = "per_token"}),
              HasSubstr("activation scales 'per_token' on a GPU"));
  EXPECT_THAT(error({.force_kernel = "matmul_s8_avx2"}),
              HasSubstr("There are: matmul_s8_cublaslt"));
}

TEST_F(DeviceEngine, Fp8NeedsTheDeviceAndFloatWeights) {
  const ModelDirectory model = golden_model("minilm");
  const auto error = [&](const ModelDirectory& on, int ordinal) {
    return error_of([&] { Engine::load_on(on, {.precision = "fp8"}, stand_in_.device(ordinal)); });
  };
  EXPECT_EQ(error(model, 0), "no error");
  EXPECT_THAT(
      error(model, 1),
      HasSubstr("Fake A100 has compute capability 8.0, fp8 needs 8.9 or later. Choose fp16"));
  EXPECT_THAT(error(int8_model("minilm", 1), 0),
              HasSubstr("fp8 is for products of float weights, the model's are int8"));
}

TEST_F(DeviceEngine, DynamicActivationsAreForTheCpu) {
  const ModelDirectory model = without_input_scales(int8_model("minilm", 1));
  EXPECT_THAT(error_of([&] { stand_in_.load(model, {}); }),
              testing::AllOf(HasSubstr("has dynamic activations, which a GPU does not quantize"),
                             HasSubstr("Run on the device cpu")));
}

TEST_F(DeviceEngine, SizesThatKernelsLack) {
  EXPECT_THAT(error_of([&] {
                stand_in_.load(random_model({18, 2, 16, 1, HeadKind::kEmbedding}, false, "odd"));
              }),
              HasSubstr("the width is 18, expected a multiple of 4"));
  EXPECT_THAT(error_of([&] {
                stand_in_.load(random_model({288, 1, 16, 1, HeadKind::kEmbedding}, false, "wide"));
              }),
              HasSubstr("heads of 288 exceed 256"));
}

TEST(DeviceNames, AreCpuAndCuda) {
  EXPECT_EQ(cuda::device_ordinal("cuda"), 0);
  EXPECT_EQ(cuda::device_ordinal("cuda:12"), 12);
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x"}) {
    EXPECT_THAT(error_of([&] { cuda::device_ordinal(name); }),
                HasSubstr("no device is named '" + std::string(name)));
  }
  const ModelDirectory model = golden_model("minilm");
  EXPECT_EQ(Engine::load(model, {.device = "cpu"})->options().device, "cpu");
  const bool built = cuda::diagnose().built;
  const std::string known = built ? "There are: cpu, cuda, cuda:0" : "There is: cpu. ";
  EXPECT_THAT(error_of([&] { Engine::load(model, {.device = "tpu"}); }),
              HasSubstr("[device] no device is named 'tpu'. " + known));
  ASSERT_EQ(setenv("TWOFOUR_DEVICE", "cuda:x", 1), 0);
  EXPECT_THAT(error_of([&] { Engine::load(model); }),
              HasSubstr("[TWOFOUR_DEVICE] no device is named 'cuda:x'"));
  ASSERT_EQ(unsetenv("TWOFOUR_DEVICE"), 0);
  if (!built) {
    EXPECT_THAT(error_of([&] { Engine::load(model, {.device = "cuda:0"}); }),
                HasSubstr("built without CUDA"));
  }
}

TEST(EncoderBuckets, WasteLittle) {
  const cuda::Buckets buckets = cuda::encoder_buckets(16384);
  EXPECT_EQ(buckets.limit(), 16384);
  EXPECT_LT(buckets.count(), 50u);
  for (int64_t m = 64; m <= 16384; ++m)
    ASSERT_LE(buckets.rows(buckets.index_for(m)) - m, m / 4) << m;
}

}  // namespace
}  // namespace twofour
