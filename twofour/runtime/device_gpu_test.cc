// The engine on a GPU against the engine on the CPU, with models of random weights that it makes
// itself. Skipped, with the reason, where there is no GPU or a library is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "twofour/backend/cuda/device.h"
#include "twofour/runtime/device_plan.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

template <class Open>
std::string error_of_opening(Open open) {
  const std::string error = error_of([&] { open(); });
  return error == "no error" ? std::string() : error;
}
std::string missing_cusparselt() {
  return error_of_opening([] { cuda::open_cusparselt(); });
}
std::string missing_cublaslt() {
  return error_of_opening([] { cuda::open_cublaslt(); });
}

class DeviceGpu : public testing::Test {
 protected:
  void SetUp() override {
    const std::string missing = error_of_opening(
        [] { cuda::Device(cuda::nvidia_libraries(), 0, cuda::encoder_buckets(kDeviceTokens)); });
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
};
// What runs dense.
class DeviceGpuDense : public DeviceGpu {
 protected:
  void SetUp() override {
    DeviceGpu::SetUp();
    if (IsSkipped()) return;
    if (const std::string missing = missing_cublaslt(); !missing.empty()) GTEST_SKIP() << missing;
  }
};
// What runs 2:4.
class DeviceGpuSparse : public DeviceGpu {
 protected:
  void SetUp() override {
    DeviceGpu::SetUp();
    if (IsSkipped()) return;
    if (const std::string missing = missing_cusparselt(); !missing.empty()) GTEST_SKIP() << missing;
  }
};

std::shared_ptr<const Engine> load(const ModelDirectory& model) {
  return Engine::load(model, {.device = "cuda:0"});
}

const ModelSize kSizes[] = {{64, 4, 128},
                            {96, 3, 192},
                            {128, 2, 128, 1, HeadKind::kEmbedding},
                            {128, 1, 256, 1, HeadKind::kEmbedding},
                            {384, 12, 1536, 2, HeadKind::kEmbedding},
                            {768, 12, 3072, 2},
                            {64, 2, 96, 1, HeadKind::kNone, "relu"},
                            {64, 8, 96, 1, HeadKind::kClassification, "gelu_new"}};

std::string name_of(const ModelSize& size) {
  return std::to_string(size.hidden) + "x" + std::to_string(size.heads);
}

ModelDirectory int8_of(const ModelSize& size, bool sparse) {
  const auto path = std::filesystem::path(testing::TempDir()) /
                    ("gpu_int8_" + name_of(size) + "_" + std::to_string(getpid()));
  return write_int8_model(random_model(size, false, name_of(size)), path, sparse ? 1 : 0);
}

void expect_sparse(const Engine& engine, bool sparse) {
  for (const LayerInfo& layer : engine.layers()) {
    if (!layer.name.starts_with("encoder")) continue;
    EXPECT_EQ(layer.sparse, sparse) << layer.name << ": " << layer.why_dense;
  }
}

bool has_fp8() {
  return cuda::Device(cuda::nvidia_libraries(), 0, cuda::encoder_buckets(kDeviceTokens))
             .properties()
             .capability() >= 89;
}

// f32 runs dense whatever the weights are.
void expect_modes(const ModelSize& size, bool sparse) {
  const ModelDirectory model = random_model(size, sparse, name_of(size));
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 7, 6, 150);
  const auto want = run(cpu, tokens.batch());
  for (const auto& [precision, tolerance] : {std::pair("f32", 1e-3), std::pair("fp16", 0.02),
                                             std::pair("bf16", 0.1), std::pair("fp8", 0.5)}) {
    if (precision == std::string("f32") && !missing_cublaslt().empty()) continue;
    if (precision == std::string("fp8") && !has_fp8()) continue;
    SCOPED_TRACE(precision + (" of " + name_of(size)));
    const auto engine = Engine::load(model, {.precision = precision, .device = "cuda:0"});
    expect_sparse(*engine, sparse && precision != std::string("f32"));
    expect_close(run(engine, tokens.batch()), want, tolerance);
  }
}

TEST_F(DeviceGpuDense, FloatsAreTheCpuEngines) {
  for (const ModelSize& size : kSizes) expect_modes(size, false);
}

TEST_F(DeviceGpuSparse, FloatsAreTheCpuEngines) {
  for (const ModelSize& size : kSizes) expect_modes(size, true);
}

// The share of int8 values that differ from the CPU's; with an f32 stream sums of another order are
// all that may differ.
void expect_int8(const ModelSize& size, bool sparse) {
  SCOPED_TRACE(name_of(size));
  const ModelDirectory model = int8_of(size, sparse);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 7, 7, 150);
  Taps want_taps, taps;
  const auto want = run(cpu, tokens.batch(), 1, &want_taps);
  const auto exact = Engine::load(model, {.precision = "f32", .device = "cuda:0"});
  expect_sparse(*exact, sparse);
  expect_close(run(exact, tokens.batch(), 1, &taps), want, 0.01);
  int64_t count = 0, different = 0;
  for (const auto& [point, values] : want_taps) {
    ASSERT_EQ(taps[point].size(), values.size()) << point;
    for (size_t i = 0; i < values.size(); ++i) different += taps[point][i] != values[i];
    count += static_cast<int64_t>(values.size());
  }
  EXPECT_LE(different, count / 100);
  for (const auto& [precision, tolerance] : {std::pair("fp16", 0.08), std::pair("bf16", 0.3)}) {
    const auto engine = Engine::load(model, {.precision = precision, .device = "cuda:0"});
    expect_sparse(*engine, sparse);
    expect_close(run(engine, tokens.batch()), want, tolerance);
  }
}

TEST_F(DeviceGpuDense, Int8IsTheCpuEngines) {
  for (const ModelSize& size : kSizes) expect_int8(size, false);
}

TEST_F(DeviceGpuSparse, Int8IsTheCpuEngines) {
  for (const ModelSize& size : kSizes) {
    expect_int8(size, true);
    const auto engine = load(int8_of(size, true));
    EXPECT_EQ(engine->layers()[0].kernel, "spmm24_s8_cusparselt") << engine->layers()[0].why_dense;
  }
}

TEST_F(DeviceGpuSparse, GraphsGiveWhatPlainRunsGive) {
  const auto engine = load(int8_of({64, 4, 128}, true));
  Session plain(engine, {.graphs = false}), graphs(engine);
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (int sequences : {1, 5, 40}) {
      const PackedTokens tokens = random_tokens(engine->network(), sequences, repeat, 100);
      std::vector<float> want(2 * sequences), found(2 * sequences);
      plain.run(tokens.batch(), want);
      for (int i = 0; i < 3; ++i) graphs.run(tokens.batch(), found);
      EXPECT_EQ(found, want);
    }
  }
  EXPECT_EQ(plain.graph_use().launched, 0u);
  EXPECT_EQ(graphs.graph_use().failure, "");
  EXPECT_GT(graphs.graph_use().launched, 0u);
}

TEST_F(DeviceGpuSparse, BatchesInDeviceMemory) {
  const auto engine = load(int8_of({64, 4, 128}, true));
  cuda::Runtime& runtime = cuda::runtime();
  const cuda::Stream stream(runtime);
  Session session(engine);
  for (int i = 0; i < 4; ++i) {
    const PackedTokens tokens = random_tokens(engine->network(), 3, i / 2, 50);
    const auto copy = [&](const std::vector<int32_t>& values) {
      return cuda::copy_to_device(runtime, values.data(), values.size() * 4, stream.handle(), "x");
    };
    const cuda::DeviceBuffer ids = copy(tokens.ids), types = copy(tokens.type_ids),
                             offsets = copy(tokens.offsets), output(runtime, 24, "output");
    const auto at = [](const cuda::DeviceBuffer& b) {
      return reinterpret_cast<int32_t*>(b.data());
    };
    session.run({at(ids), at(types), at(offsets), static_cast<int64_t>(tokens.ids.size()), 3, 50},
                reinterpret_cast<float*>(output.data()), stream.handle());
    std::vector<float> found(6), want(6);
    cuda::check(runtime, runtime.copy(found.data(), output.data(), 24, stream.handle()), "copy");
    cuda::check(runtime, runtime.synchronize(stream.handle()), "synchronize");
    session.run(tokens.batch(), want);
    EXPECT_EQ(found, want);
  }
}

TEST_F(DeviceGpuSparse, SessionsRunAtOnce) {
  const auto engine = load(int8_of({64, 4, 128}, true));
  std::vector<std::vector<float>> found(4), want(4);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    const PackedTokens tokens = random_tokens(engine->network(), 9, i, 100);
    want[i] = run(engine, tokens.batch());
    threads.emplace_back([&, i, tokens] {
      Session session(engine);
      found[i].resize(18);
      for (int repeat = 0; repeat < 20; ++repeat) session.run(tokens.batch(), found[i]);
    });
  }
  threads.clear();
  EXPECT_EQ(found, want);
}

TEST_F(DeviceGpuSparse, ABatchThatDoesNotFitIsAnErrorAndNoMore) {
  const auto engine = load(int8_of({64, 4, 128}, true));
  Session session(engine, {.device_memory_limit = 1 << 20});
  const PackedTokens small = random_tokens(engine->network(), 2, 1, 5);
  const PackedTokens large = random_tokens(engine->network(), 200, 1, 150);
  std::vector<float> output(400);
  EXPECT_THAT(error_of([&] { session.run(large.batch(), output); }), HasSubstr("limit is 1048576"));
  session.run(small.batch(), std::span(output).first(4));
}

}  // namespace
}  // namespace twofour
