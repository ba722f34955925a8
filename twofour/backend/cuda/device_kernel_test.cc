// Every kernel of the device list against the plain product: over the stand-ins, and with the same
// cases on a GPU where there is one.
#include "twofour/backend/cuda/device_kernel.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>

#include "twofour/backend/cuda/host_kernels.h"
#include "twofour/backend/cuda/host_spmm24_cutlass.h"
#include "twofour/backend/cuda/open_device.h"
#include "twofour/backend/cuda/random_weight.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/backend/cuda/spmm24.h"
#include "twofour/backend/cuda/testing.h"
#include "twofour/backend/cuda/testing_dense.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

// A device, real or not, with all that a context points to.
class Platform {
 public:
  virtual ~Platform() = default;
  const DeviceContext& context() const { return context_; }

 protected:
  void fill(Runtime& runtime, EncoderKernels& kernels, CusparseLt* sparse, CublasLt* dense) {
    context_.runtime = &runtime;
    context_.kernels = &kernels;
    check(runtime, runtime.properties(0, context_.properties), "cudaGetDeviceProperties");
    if (sparse != nullptr) {
      sparse_ = std::make_unique<PlanCache>(*sparse, runtime, PlanCacheOptions{});
      context_.sparse = sparse_.get();
    }
    if (dense != nullptr) {
      dense_ = std::make_unique<DenseCache>(*dense, runtime, DenseOptions{});
      context_.dense = dense_.get();
    }
  }

  DeviceContext context_;
  std::unique_ptr<PlanCache> sparse_;
  std::unique_ptr<DenseCache> dense_;
};

class StandIns final : public Platform {
 public:
  StandIns() { fill(runtime_, kernels_, &sparse_library_, &dense_library_); }
  ~StandIns() override {
    sparse_.reset();
    dense_.reset();
    EXPECT_EQ(sparse_library_.violations + dense_library_.violations + runtime_.violations, "");
  }

 private:
  FakeRuntime runtime_;
  FakeCusparseLt sparse_library_{runtime_};
  FakeCublasLt dense_library_{runtime_};
  HostKernels kernels_{runtime_};
};

// Throws Error where there is no GPU.
class Gpu final : public Platform {
 public:
  Gpu() : libraries_(find_libraries()) {
    require_device(runtime(), 0);
    fill(runtime(), encoder_kernels(), libraries_.sparse.get(), libraries_.dense.get());
    context_.sparse_missing = libraries_.sparse_missing;
    context_.dense_missing = libraries_.dense_missing;
  }
  ~Gpu() override {
    sparse_.reset();
    dense_.reset();
  }

 private:
  FoundLibraries libraries_;
};

struct LayerCase {
  int64_t m, room, n, k;
  DType input, output;
  std::optional<ActivationKind> activation;
  bool bias = true;
};

std::vector<LayerCase> layer_cases() {
  using enum ActivationKind;
  constexpr DType kS8 = DType::kI8, kF16 = DType::kF16, kBf16 = DType::kBF16;
  return {{1, 1, 32, 64, kS8, kS8, kGelu},          {17, 32, 96, 128, kS8, kF16, {}},
          {64, 64, 64, 96, kS8, kBf16, kRelu},      {65, 65, 32, 64, kS8, kS8, {}, false},
          {100, 112, 32, 512, kS8, kF16, kGelu},    {1, 16, 48, 64, kF16, kF16, kGelu},
          {16, 16, 32, 160, kF16, kF16, {}, false}, {33, 48, 32, 64, kF16, kS8, kRelu},
          {64, 64, 128, 768, kF16, kF16, {}},       {65, 70, 32, 64, kBf16, kBf16, kGelu},
          {5, 5, 64, 768, kBf16, kS8, {}},          {200, 208, 64, 64, kF16, kF16, kGelu},
          {150, 150, 272, 384, kS8, kS8, kGelu},    {130, 144, 144, 256, kBf16, kBf16, kGeluTanh}};
}

class DeviceKernels : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string(GetParam()) == "StandIns") {
      platform_ = std::make_unique<StandIns>();
      return;
    }
    try {
      platform_ = std::make_unique<Gpu>();
    } catch (const Error& error) {
      GTEST_SKIP() << "no GPU: " << error.what();
    }
  }

  const DeviceContext& context() const { return platform_->context(); }
  Runtime& runtime() const { return *context().runtime; }

  DeviceBuffer to_device(const void* data, size_t bytes, size_t capacity) const {
    DeviceBuffer buffer(runtime(), capacity, "a test");
    check(runtime(), runtime().fill(buffer.data(), 0x5a, capacity, stream()), "cudaMemsetAsync");
    if (bytes > 0)
      check(runtime(), runtime().copy(buffer.data(), data, bytes, stream()), "cudaMemcpyAsync");
    return buffer;
  }

  StreamHandle stream() const {
    if (!stream_) stream_ = std::make_unique<Stream>(runtime());
    return stream_->handle();
  }

  void compare(const DeviceKernel& kernel, const LayerCase& c) const;
  void compare_scaled(DType output) const;
  void compare_variant(int variant, DType input, DType output) const;

  std::unique_ptr<Platform> platform_;
  mutable std::unique_ptr<Stream> stream_;
};

// Libraries round 16-bit products before the epilogue, which this project's kernels do not: half a
// unit in the last place each time, of the product and of the result. int8 inputs give the same
// bits everywhere.
double tolerance(const LayerCase& c, double value) {
  if (c.input == DType::kI8) return 0;
  if (c.output == DType::kI8) return 1;
  const double epsilon = c.output == DType::kF16 ? 1.0 / 1024 : 1.0 / 128;
  return 2 * epsilon * (std::abs(value) + 4);
}

void DeviceKernels::compare(const DeviceKernel& kernel, const LayerCase& c) const {
  const DeviceLinearDesc desc{c.n, c.k, c.input, c.output, c.activation, true};
  const size_t in = dtype_bytes(c.input), out = dtype_bytes(c.output);
  const auto weight = random_matrix(c.input, c.n, c.k, true, 1);
  const auto x = random_matrix(c.input, c.m, c.k, false, 2);
  std::vector<float> scales(c.n), bias(c.n);
  for (int64_t i = 0; i < c.n; ++i) {
    scales[i] = 0.001f * static_cast<float>(i % 5 + 1);
    bias[i] = 0.25f * static_cast<float>(i % 9) - 1;
  }
  const bool integer = c.input == DType::kI8;
  const DeviceWeightSource source{weight.data(), integer ? scales.data() : nullptr,
                                  c.bias ? bias.data() : nullptr};
  DeviceScratch scratch;
  const auto packed = kernel.pack(context(), desc, source, stream(), "layer.weight");
  const DeviceBuffer x_device = to_device(x.data(), x.size(), c.room * c.k * in);
  const DeviceBuffer y_device = to_device(nullptr, 0, (c.room + 1) * c.n * out);
  DeviceLinearArgs args{c.m, c.room, x_device.data(), y_device.data()};
  args.input_scale = integer ? 0.05f : 0.125f;
  args.output_scale = 0.5f;
  kernel.run(context(), desc, *packed, args, stream(), scratch);

  std::vector<std::byte> found((c.room + 1) * c.n * out), want(c.m * c.n * out);
  check(runtime(), runtime().copy(found.data(), y_device.data(), found.size(), stream()),
        "cudaMemcpyAsync");
  check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
  ReferenceProduct p{c.m,           c.n,         c.k,           c.input,
                     c.output,      x.data(),    weight.data(), args.input_scale,
                     source.scales, source.bias, c.activation,  args.output_scale,
                     want.data()};
  reference_product(p);
  for (int64_t i = 0; i < c.m * c.n; ++i) {
    const double a = element(c.output, found.data(), i), b = element(c.output, want.data(), i);
    ASSERT_LE(std::abs(a - b), tolerance(c, b))
        << kernel.name() << ": " << desc.to_string() << ", row " << i / c.n << ", column "
        << i % c.n << " is " << a << ", expected " << b;
  }
  for (size_t i = c.room * c.n * out; i < found.size(); ++i)
    ASSERT_EQ(found[i], std::byte{0x5a}) << kernel.name() << " wrote behind the room";
}

void DeviceKernels::compare_scaled(DType output) const {
  constexpr int64_t kM = 33, kRoom = 48, kN = 64, kK = 128;
  const auto weight = random_matrix(DType::kI8, kN, kK, true, 1);
  const auto x = random_matrix(DType::kI8, kM, kK, false, 2);
  std::vector<float> scales(kN), bias(kN);
  for (int64_t i = 0; i < kN; ++i) {
    scales[i] = 0.0001f * static_cast<float>(i % 5 + 1);
    bias[i] = 0.25f * static_cast<float>(i % 9) - 1;
  }
  const DeviceBuffer alpha = to_device(scales.data(), kN * 4, kN * 4);
  // F32 whatever the results are, as NVIDIA's example of int8 products has it.
  const DeviceBuffer bias_device = to_device(bias.data(), kN * 4, kN * 4);
  const ProductDesc product{kN, kK, DType::kI8, output, std::nullopt, bias_device.data(), true};
  EXPECT_EQ(bias_type(product), DType::kF32);
  const CompressedWeight compressed(*context().sparse, product, weight.data(), 0, stream(), "w");
  const DeviceBuffer x_device = to_device(x.data(), x.size(), kRoom * kK);
  const DeviceBuffer y_device = to_device(nullptr, 0, kRoom * kN * 2);
  SpmmScratch scratch;
  spmm24(*context().sparse, product,
         {kM, kRoom, x_device.data(), compressed.data(), y_device.data(),
          reinterpret_cast<const float*>(alpha.data())},
         0, stream(), scratch);
  std::vector<std::byte> found(kM * kN * 2), want(kM * kN * 2);
  check(runtime(), runtime().copy(found.data(), y_device.data(), found.size(), stream()),
        "cudaMemcpyAsync");
  check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
  reference_product({kM, kN, kK, DType::kI8, output, x.data(), weight.data(), 1, scales.data(),
                     bias.data(), std::nullopt, 1, want.data()});
  const double epsilon = output == DType::kF16 ? 1.0 / 1024 : 1.0 / 128;
  for (int64_t i = 0; i < kM * kN; ++i) {
    const double a = element(output, found.data(), i), b = element(output, want.data(), i);
    ASSERT_LE(std::abs(a - b), epsilon * (std::abs(b) + 1))
        << dtype_name(output) << ", row " << i / kN << ", column " << i % kN;
  }
}

// With all that a launch may have, against the host's form of it, which is tested elsewhere.
void DeviceKernels::compare_variant(int variant, DType input, DType output) const {
  constexpr int64_t kM = 130, kN = 144, kK = 256, kXStride = kK + 32, kYStride = kN + 16;
  const size_t out = dtype_bytes(output);
  const auto packed = pack_spmm24_cutlass("w", kSpmm24CutlassVariants[variant].form, input, kN, kK,
                                          random_matrix(input, kN, kK, true, 1).data());
  const auto x = random_matrix(input, kM, kXStride, false, 2);
  const auto residual = random_matrix(output, kM, kYStride, false, 3);
  std::vector<float> scales(kN), bias(kN), token_scales(kM);
  for (int64_t i = 0; i < kN; ++i) {
    scales[i] = 0.001f * static_cast<float>(i % 5 + 1);
    bias[i] = 0.25f * static_cast<float>(i % 9) - 1;
  }
  for (int64_t i = 0; i < kM; ++i) token_scales[i] = 0.5f + static_cast<float>(i % 3);
  std::vector<std::byte> want(kM * kYStride * out, std::byte{0x5a}), found(want.size());
  Spmm24CutlassArgs args;
  args.m = kM;
  args.n = kN;
  args.k = kK;
  args.x_stride = kXStride;
  args.y_stride = args.residual_stride = kYStride;
  args.input_scale = 0.05f;
  args.output_scale = 0.5f;
  Spmm24CutlassArgs host = args;
  host.x = x.data();
  host.values = packed.values.data();
  host.metadata = packed.metadata.data();
  host.y = want.data();
  host.weight_scales = scales.data();
  host.token_scales = token_scales.data();
  host.bias = bias.data();
  if (output != DType::kI8) host.residual = residual.data();
  host_spmm24_cutlass(variant, input, output, ActivationKind::kGelu, host);

  std::vector<DeviceBuffer> kept;
  const auto upload = [&](const void* data, size_t bytes) -> const void* {
    if (data == nullptr) return nullptr;
    kept.push_back(to_device(data, bytes, bytes));
    return kept.back().data();
  };
  args.x = upload(host.x, x.size());
  args.values = upload(host.values, packed.values.size());
  args.metadata = upload(host.metadata, packed.metadata.size());
  args.weight_scales = static_cast<const float*>(upload(host.weight_scales, kN * 4));
  args.token_scales = static_cast<const float*>(upload(host.token_scales, kM * 4));
  args.bias = static_cast<const float*>(upload(host.bias, kN * 4));
  args.residual = upload(host.residual, residual.size());
  const DeviceBuffer y = to_device(nullptr, 0, want.size());
  args.y = y.data();
  context().kernels->spmm24_cutlass(variant, input, output, ActivationKind::kGelu, args, stream());
  check(runtime(), runtime().copy(found.data(), y.data(), found.size(), stream()),
        "cudaMemcpyAsync");
  check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
  // The sums are exact, and the rest is done in the same order: no bit may differ.
  for (int64_t i = 0; i < kM * kYStride; ++i) {
    ASSERT_EQ(std::memcmp(&found[i * out], &want[i * out], out), 0)
        << kSpmm24CutlassVariants[variant].name << ", " << dtype_name(input) << " to "
        << dtype_name(output) << ", row " << i / kYStride << ", column " << i % kYStride;
  }
}

TEST_P(DeviceKernels, EveryVariantOfCutlassIsTheHosts) {
  std::string not_run;
  for (int variant = 0; variant < kSpmm24CutlassVariantCount; ++variant) {
    const CutlassForm form = kSpmm24CutlassVariants[variant].form;
    std::string reason = context().kernels->spmm24_cutlass_missing(form);
    for (const DType input : {DType::kI8, DType::kF16, DType::kBF16}) {
      for (const DType output : {DType::kI8, DType::kF16, DType::kBF16}) {
        const auto rejected =
            spmm24_cutlass_rejects(form, context().properties, input, output, 144, 256);
        if (input == output && rejected) reason = *rejected;
        if (!reason.empty() || rejected) continue;
        compare_variant(variant, input, output);
        if (HasFatalFailure()) return;
      }
    }
    if (!reason.empty())
      not_run += fmt::format("{}: {}; ", kSpmm24CutlassVariants[variant].name, reason);
  }
  if (!not_run.empty()) GTEST_SKIP() << "not run: " << not_run;
}

TEST_P(DeviceKernels, EachIsThePlainProduct) {
  std::string not_run;
  for (const DeviceKernel* kernel : device_kernel_list()) {
    int ran = 0;
    std::string reason;
    for (const LayerCase& c : layer_cases()) {
      const DeviceLinearDesc desc{c.n, c.k, c.input, c.output, c.activation, true};
      if (const auto why = kernel->supports(context(), desc, c.m)) {
        reason = *why;
        continue;
      }
      compare(*kernel, c);
      if (HasFatalFailure()) break;
      ++ran;
    }
    RecordProperty(std::string(kernel->name()), ran);
    if (ran == 0) not_run += fmt::format("{}: {}; ", kernel->name(), reason);
  }
  if (not_run.empty()) return;
  // The stand-ins lack nothing.
  ASSERT_STREQ(GetParam(), "Gpu") << not_run;
  if (!HasFailure()) GTEST_SKIP() << "not run: " << not_run;
}

// cuSPARSELt's own scales and bias: I8 products that give 16-bit floats.
TEST_P(DeviceKernels, ScalesAndBiasInTheProduct) {
  if (context().sparse == nullptr) GTEST_SKIP() << context().sparse_missing;
  for (const DType output : {DType::kF16, DType::kBF16}) compare_scaled(output);
}

TEST_P(DeviceKernels, NoneTakesAWeightThatIsNotSparse) {
  const auto weight = random_matrix(DType::kI8, 32, 64, false, 1);
  const DeviceLinearDesc desc{32, 64, DType::kI8, DType::kI8, std::nullopt, true};
  for (const DeviceKernel* kernel : device_kernel_list()) {
    if (!kernel->sparse() || kernel->supports(context(), desc, 1)) continue;
    try {
      kernel->pack(context(), desc, {weight.data(), nullptr, nullptr}, stream(), "pooler.weight");
      ADD_FAILURE() << kernel->name();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("pooler.weight")) << kernel->name();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(On, DeviceKernels, testing::Values("StandIns", "Gpu"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DeviceKernelList, StandsInTheOrderOfTheDocumentation) {
  std::vector<std::string> listed, documented;
  for (const DeviceKernel* kernel : device_kernel_list()) {
    listed.push_back(
        fmt::format("| `{}` | {} |", kernel->name(), kernel->sparse() ? "2:4" : "any"));
  }
  std::ifstream page(TWOFOUR_SOURCE_DIR "/docs/gpu.md");
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("| `spmm24_", 0) == 0 || line.rfind("| `matmul_", 0) == 0)
      documented.push_back(line.substr(0, line.find('|', line.find('|', 2) + 1) + 1));
  }
  EXPECT_EQ(documented, listed);
  EXPECT_EQ(&device_kernel("spmm24_mma"), &spmm24_mma_kernel());
  EXPECT_EQ(&device_kernel("spmm24_cutlass_sm80"), &spmm24_cutlass_kernel(CutlassForm::kSm80));
  EXPECT_THROW(device_kernel("spmm24_magic"), Error);
}

TEST(SelectDeviceKernel, TakesTheFirstThatCan) {
  StandIns platform;
  DeviceContext context = platform.context();
  DeviceLinearDesc desc{32, 64, DType::kI8, DType::kI8, std::nullopt, true};
  const auto chosen = [&](int64_t m, const PlanChoice* choice = nullptr) {
    return std::string(select_device_kernel(context, desc, m, choice).name());
  };
  EXPECT_EQ(chosen(16), "spmm24_cusparselt");
  desc.sparse = false;
  EXPECT_EQ(chosen(16), "matmul_cublaslt");
  desc.sparse = true;
  context.sparse = nullptr;
  context.sparse_missing = "not found";
  EXPECT_EQ(chosen(64), "spmm24_mma");
  EXPECT_EQ(chosen(65), "spmm24_cutlass_sm90");
  context.properties.minor = 1;
  EXPECT_EQ(chosen(65), "matmul_cublaslt");
  desc.k = 128;
  EXPECT_EQ(chosen(65), "spmm24_cutlass_sm80");
  desc.k = 64;
  context.dense = nullptr;
  EXPECT_EQ(chosen(65), "matmul_host_reference");
}

TEST(SelectDeviceKernel, APlanOverridesTheOrderWhereItsKernelCan) {
  StandIns platform;
  const DeviceContext& context = platform.context();
  const DeviceLinearDesc desc{32, 64, DType::kI8, DType::kI8, std::nullopt, true};
  const PlanChoice own{PlanUse::kOwn, {}}, dense{PlanUse::kDense, {}, 1}, sparse{};
  PlanChoice cutlass{PlanUse::kCutlass, {}};
  cutlass.variant = 4;
  EXPECT_EQ(select_device_kernel(context, desc, 16, &own).name(), "spmm24_mma");
  EXPECT_EQ(select_device_kernel(context, desc, 80, &own).name(), "spmm24_cusparselt");
  EXPECT_EQ(select_device_kernel(context, desc, 16, &dense).name(), "matmul_cublaslt");
  EXPECT_EQ(select_device_kernel(context, desc, 16, &sparse).name(), "spmm24_cusparselt");
  EXPECT_EQ(select_device_kernel(context, desc, 16, &cutlass).name(), "spmm24_cutlass_sm90");
  cutlass.variant = 0;  // which takes no k of 64
  EXPECT_EQ(select_device_kernel(context, desc, 16, &cutlass).name(), "spmm24_cusparselt");
}

TEST(SelectDeviceKernel, ReasonsWhereAKernelCannot) {
  StandIns platform;
  DeviceContext context = platform.context();
  const auto reason = [&](const DeviceKernel& kernel, const DeviceLinearDesc& desc, int64_t m) {
    return kernel.supports(context, desc, m).value_or("");
  };
  DeviceLinearDesc desc{32, 64, DType::kI8, DType::kI8, std::nullopt, true};
  EXPECT_THAT(reason(spmm24_mma_kernel(), desc, 65), HasSubstr("up to 64 rows, not 65"));
  desc.k = 40;
  EXPECT_THAT(reason(spmm24_mma_kernel(), desc, 1), HasSubstr("k is 40"));
  EXPECT_THAT(reason(spmm24_cusparselt_kernel(), desc, 1), HasSubstr("k is 40"));
  EXPECT_EQ(reason(matmul_cublaslt_kernel(), desc, 1), "");
  desc.sparse = false;
  EXPECT_THAT(reason(spmm24_mma_kernel(), desc, 1), HasSubstr("not 2:4-sparse"));
  desc.sparse = true;
  desc.k = 64;
  EXPECT_THAT(reason(spmm24_cutlass_kernel(CutlassForm::kSm80), desc, 1),
              HasSubstr("k is 64, expected a multiple of 128"));
  desc.output = DType::kI32;
  EXPECT_THAT(reason(device_reference_kernel(), desc, 1), HasSubstr("I8 to I32 is no layer"));
  desc = {32, 64, DType::kI8, DType::kI8, std::nullopt, true};
  context.properties = {"T4", 7, 5, 0, 40};
  EXPECT_THAT(reason(spmm24_mma_kernel(), desc, 1), HasSubstr("T4 has compute capability 7.5"));
  for (const CutlassForm form : {CutlassForm::kSm80, CutlassForm::kSm90}) {
    EXPECT_THAT(reason(spmm24_cutlass_kernel(form), desc, 1),
                HasSubstr("T4 has compute capability 7.5"));
  }
  context.sparse = nullptr;
  context.sparse_missing = "[cuSPARSELt] not found";
  EXPECT_EQ(reason(spmm24_cusparselt_kernel(), desc, 1), "[cuSPARSELt] not found");
}

}  // namespace
}  // namespace twofour::cuda
