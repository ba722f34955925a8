#include "twofour/backend/cuda/runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <new>
#include <utility>

#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/backend/cuda/epilogue_launch.h"
#include "twofour/backend/cuda/testing.h"
#include "twofour/base/error.h"
#include "twofour/base/testing.h"

namespace twofour::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DeviceBuffer, FreesOnce) {
  FakeRuntime runtime;
  {
    DeviceBuffer a(runtime, 100, "a");
    EXPECT_EQ(a.size(), 100u);
    DeviceBuffer b = std::move(a);
    EXPECT_EQ(a.data(), nullptr);  // NOLINT(bugprone-use-after-move): that is what is tested
    DeviceBuffer c(runtime, 50, "c");
    c = std::move(b);
    EXPECT_EQ(c.size(), 100u);
    EXPECT_EQ(runtime.allocations(), 1u);
    EXPECT_EQ(DeviceBuffer(runtime, 0, "nothing").data(), nullptr);
  }
  EXPECT_EQ(runtime.allocations(), 0u);
  EXPECT_EQ(runtime.violations, "");
}

TEST(DeviceBuffer, SaysWhatIsTooLarge) {
  FakeRuntime runtime;
  runtime.free_bytes = 10;
  EXPECT_THAT(error_of([&] { DeviceBuffer(runtime, 11, "encoder.weight"); }),
              HasSubstr("[encoder.weight] needs 11 bytes on cuda:0"));
  EXPECT_THAT(error_of([&] { DeviceBuffer(runtime, 11, "x"); }), HasSubstr("10 are free"));
}

TEST(StreamAndEvent, AreDestroyed) {
  FakeRuntime runtime;
  {
    Stream stream(runtime);
    Event begin(runtime), end(runtime);
    begin.record(stream.handle());
    end.record(stream.handle());
    stream.synchronize();
    EXPECT_EQ(end.ms_since(begin), 1.5f);
    EXPECT_EQ(runtime.streams, 1);
    runtime.failures.next("synchronize", Status{700});
    EXPECT_THAT(error_of([&] { stream.synchronize(); }),
                HasSubstr("[cuda] cudaStreamSynchronize failed: status 700"));
  }
  EXPECT_EQ(runtime.streams, 0);
  EXPECT_EQ(runtime.events, 0);
}

TEST(DeviceGuard, RestoresTheDevice) {
  FakeRuntime runtime;
  int device = -1;
  {
    const DeviceGuard guard(runtime, 1);
    runtime.current_device(device);
    EXPECT_EQ(device, 1);
  }
  runtime.current_device(device);
  EXPECT_EQ(device, 0);
  EXPECT_THAT(error_of([&] { DeviceGuard(runtime, 9); }), HasSubstr("cudaSetDevice failed"));
}

TEST(PinnedBuffer, FreesOnce) {
  FakeRuntime runtime;
  {
    PinnedBuffer a(runtime, 100);
    PinnedBuffer b = std::move(a);
    EXPECT_EQ(b.size(), 100u);
    EXPECT_EQ(runtime.pinned, 1);
    b = PinnedBuffer(runtime, 50);
    EXPECT_EQ(runtime.pinned, 1);
  }
  EXPECT_EQ(runtime.pinned, 0);
}

TEST(Graph, RunsWhatWasCapturedWheneverLaunched) {
  FakeRuntime runtime;
  Stream stream(runtime);
  int from = 1, to = 0;
  const auto copy = [&] {
    check(runtime, runtime.copy(&to, &from, sizeof to, stream.handle()), "cudaMemcpyAsync");
  };
  {
    std::string failure;
    const auto graph = Graph::capture(runtime, stream.handle(), copy, failure);
    EXPECT_EQ(failure, "");
    EXPECT_EQ(to, 0);
    graph->launch(stream.handle());
    EXPECT_EQ(to, 1);
    from = 2;
    graph->launch(nullptr);
    EXPECT_EQ(to, 2);
    EXPECT_EQ(runtime.graphs, 1);
  }
  EXPECT_EQ(runtime.graphs, 0);
}

TEST(Graph, IsNoneWhereCapturingFails) {
  FakeRuntime runtime;
  Stream stream(runtime);
  std::string failure;
  const auto capture = [&](const std::function<void()>& work) {
    return Graph::capture(runtime, stream.handle(), work, failure);
  };
  const auto nothing = [] {};
  runtime.failures.next("capture", Status{900});
  EXPECT_EQ(capture(nothing), nullptr);
  EXPECT_EQ(failure, "cudaStreamBeginCapture failed: status 900");
  runtime.failures.next("end_capture", Status{901});
  EXPECT_EQ(capture(nothing), nullptr);
  EXPECT_EQ(failure, "cudaStreamEndCapture failed: status 901");
  const auto failing = [] { throw Error("cuda", "cannot be captured"); };
  runtime.failures.next("end_capture", Status{901});
  EXPECT_EQ(capture(failing), nullptr);
  EXPECT_EQ(failure, "[cuda] cannot be captured");  // the cause, not what followed from it
  EXPECT_EQ(capture(failing), nullptr);
  EXPECT_THROW(capture([] { throw std::bad_alloc(); }), std::bad_alloc);
  EXPECT_EQ(runtime.graphs, 0);
  EXPECT_NE(capture(nothing), nullptr);  // the stream captures again after all of these
  EXPECT_EQ(failure, "");
}

TEST(FakeRuntime, SeesCallsThatACaptureForbids) {
  FakeRuntime runtime;
  Stream stream(runtime);
  DeviceBuffer buffer(runtime, 8, "before");
  std::string failure;
  const auto forbidden = [&](const std::function<void()>& call) {
    Graph::capture(runtime, stream.handle(), call, failure);
    return std::exchange(runtime.violations, "");
  };
  EXPECT_EQ(forbidden([&] { buffer.reset(); }), "cudaFree during a capture; ");
  EXPECT_EQ(forbidden([&] { DeviceBuffer(runtime, 0, ""); }), "");
  EXPECT_THAT(forbidden([&] { DeviceBuffer(runtime, 8, "x"); }), HasSubstr("cudaMalloc during"));
  EXPECT_EQ(forbidden([&] { stream.synchronize(); }), "cudaStreamSynchronize during a capture; ");
  EXPECT_THAT(forbidden([&] { PinnedBuffer(runtime, 8); }), HasSubstr("cudaMallocHost during"));
}

Diagnosis diagnosis_of(FakeRuntime& runtime) {
  Diagnosis found;
  found.built = true;
  diagnose_runtime(runtime, found);
  return found;
}

TEST(Diagnosis, OfWhatTheRuntimeSays) {
  FakeRuntime runtime;
  const Diagnosis found = diagnosis_of(runtime);
  EXPECT_THAT(found.devices, ElementsAre("Fake H100, sm_90, 80 GiB", "Fake A100, sm_80, 40 GiB"));
  EXPECT_EQ(found.driver, "13.0");
  EXPECT_EQ(found.summary(), "Fake H100, sm_90, 80 GiB; Fake A100, sm_80, 40 GiB");
  runtime.devices = {{"T4", 7, 5, size_t{16} << 30, 40}};
  EXPECT_EQ(diagnosis_of(runtime).summary(), "T4, sm_75, 16 GiB, no 2:4 products");
}

TEST(Diagnosis, OfWhatIsMissing) {
  FakeRuntime runtime;
  runtime.driver = 0;
  EXPECT_EQ(diagnosis_of(runtime).summary(), "none: no driver");
  runtime.driver = 12020;
  runtime.failures.next("device_count", Status::kInsufficientDriver);
  const Diagnosis found = diagnosis_of(runtime);
  EXPECT_EQ(found.summary(), "none: status 35");
  EXPECT_EQ(found.driver, "12.2");
  EXPECT_EQ(Diagnosis{}.summary(), "none: built without CUDA");
}

TEST(Diagnosis, NamesVersionsThatWereNotTried) {
  FakeRuntime runtime;
  FakeCusparseLt library(runtime);
  EXPECT_EQ(describe_cusparselt(library), "0.10.0 (stand-in)");
  library.version_number = 900;
  EXPECT_EQ(describe_cusparselt(library), "0.9.0, a version that was not tried (stand-in)");
}

TEST(BuiltWithoutCuda, EveryDoorSaysSo) {
  if (diagnose().built) GTEST_SKIP() << "built with CUDA";
  EXPECT_THAT(error_of([] { runtime(); }), HasSubstr("built without CUDA. Build the preset cuda"));
  EXPECT_THAT(error_of([] { run_epilogue(DType::kI32, DType::kI8, {}, {}, nullptr); }),
              HasSubstr("built without CUDA"));
}

}  // namespace
}  // namespace twofour::cuda
