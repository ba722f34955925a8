// The plug-in's core with the real cuSPARSELt, driven as TensorRT drives it. Skipped, with the
// reason, where there is no GPU or no cuSPARSELt.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "twofour/backend/cuda/open_device.h"
#include "twofour/tensorrt/testing.h"

namespace twofour::tensorrt {
namespace {

using cuda::DeviceBuffer;

constexpr int kGuard = 0xa5;
constexpr size_t kGuardBytes = 4096;  // behind y

class SpmmGpu : public testing::Test {
 protected:
  void SetUp() override {
    try {
      cuda::require_device(cuda::runtime(), 0);
      resources_of_process();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }

  static SpmmPluginCore core_of(const TestLayer& layer) {
    return {parse_fields("layer.0", layer.fields()), resources_of_process};
  }

  // y [m, n] of one shape in a context.
  static std::vector<uint16_t> run(const SpmmPluginCore& core, const std::vector<std::byte>& x,
                                   int64_t m) {
    cuda::Runtime& runtime = cuda::runtime();
    cuda::Stream stream(runtime);
    std::vector<uint16_t> y(static_cast<size_t>(m * core.definition().n));
    const size_t bytes = y.size() * sizeof(uint16_t);
    std::vector<uint8_t> written(bytes + kGuardBytes);
    const DeviceBuffer x_memory(runtime, x.size(), "x"), y_memory(runtime, written.size(), "y");
    const DeviceBuffer workspace(runtime, core.workspace_bytes(m), "workspace");
    check(runtime.copy(x_memory.data(), x.data(), x.size(), stream.handle()));
    check(runtime.fill(y_memory.data(), kGuard, written.size(), stream.handle()));
    core.set_rows(m);
    core.enqueue(m, x_memory.data(), y_memory.data(), workspace.data(), stream.handle());
    check(runtime.copy(written.data(), y_memory.data(), written.size(), stream.handle()));
    stream.synchronize();
    EXPECT_TRUE(std::all_of(written.begin() + static_cast<std::ptrdiff_t>(bytes), written.end(),
                            [](uint8_t byte) { return byte == kGuard; }));
    std::memcpy(y.data(), written.data(), bytes);
    return y;
  }

  static void check(cuda::Status status) { cuda::check(cuda::runtime(), status, "test"); }

  // As the lifecycle's tests over the stand-in.
  static void expect_product(const SpmmPluginCore& core, const TestLayer& layer, int64_t m) {
    const auto x = layer.input(m, static_cast<uint32_t>(m));
    const std::vector<uint16_t> y = run(core, x, m);
    const std::vector<double> expected = layer.product(x, m);
    for (size_t i = 0; i < y.size(); ++i) {
      const double tolerance = 2e-3 * std::max(1.0, std::abs(expected[i]));
      ASSERT_NEAR(f16_to_f32(y[i]), expected[i], tolerance) << m << " rows, element " << i;
    }
  }
};

// max_m is 128: 200 rows run in pieces, 7 and 35 leave rows that fill no bucket.
TEST_F(SpmmGpu, AStoredPluginComputesEveryShape) {
  for (const DType type : {DType::kI8, DType::kF16}) {
    for (const char* epilogue :
         {spmm_node::kNone, spmm_node::kBiasOnly, spmm_node::kBiasRelu, spmm_node::kBiasGelu}) {
      SCOPED_TRACE(std::string(dtype_name(type)) + " " + epilogue);
      const TestLayer layer(type, 32, 64, epilogue);
      const std::string stored = core_of(layer).serialize();
      const SpmmPluginCore core = SpmmPluginCore::deserialize(stored, resources_of_process);
      core.attach();
      for (const int64_t m : {16, 64, 7, 35, 128, 200}) expect_product(core, layer, m);
    }
  }
}

TEST_F(SpmmGpu, ClonesRunOnSeveralThreadsAndStreamsAtOnce) {
  const TestLayer layer(DType::kI8, 256, 512);
  const SpmmPluginCore core = core_of(layer);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const SpmmPluginCore clone = core;
      for (int64_t m = 1 + i; m < 128; m += 29) expect_product(clone, layer, m);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace twofour::tensorrt
