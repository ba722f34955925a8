// Bandwidth of the epilogue kernel on a GPU: bytes read and written over the time between events.
#include <benchmark/benchmark.h>

#include <memory>

#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/open_device.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr int kRuns = 20;  // between two events

// Why nothing can be measured here; empty where something can.
std::string problem() {
  try {
    require_device(runtime(), 0);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

void epilogue(benchmark::State& state, DType input, DType output) {
  static const std::string why = problem();
  if (!why.empty()) return state.SkipWithError(why.c_str());
  Runtime& device = runtime();
  const int64_t m = state.range(0), n = state.range(1);
  const auto bytes = [&](DType type) { return static_cast<size_t>(m * n) * dtype_bytes(type); };
  const DeviceBuffer x(device, bytes(input), "x"), y(device, bytes(output), "y");
  const DeviceBuffer vectors(device, 2 * n * sizeof(float), "scales and bias");
  const Stream stream(device);
  check(device, device.fill(x.data(), 1, x.size(), stream.handle()), "cudaMemsetAsync");
  check(device, device.fill(vectors.data(), 0, vectors.size(), stream.handle()), "cudaMemsetAsync");
  EpilogueArgs args;
  args.x = x.data();
  args.y = y.data();
  args.m = m;
  args.n = args.x_stride = args.y_stride = n;
  args.weight_scales = reinterpret_cast<const float*>(vectors.data());
  args.bias = args.weight_scales + n;
  Event begin(device), end(device);
  for (auto unused : state) {
    begin.record(stream.handle());
    for (int i = 0; i < kRuns; ++i) {
      encoder_kernels().epilogue(input, output, ActivationKind::kGelu, args, stream.handle());
    }
    end.record(stream.handle());
    check(device, device.synchronize(stream.handle()), "cudaStreamSynchronize");
    state.SetIterationTime(end.ms_since(begin) / 1000.0 / kRuns);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(x.size() + y.size()));
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Unit(benchmark::kMicrosecond)->MinTime(0.05);
  for (const int64_t m : {16, 1024, 16384}) benchmark->Args({m, 3072});
}

BENCHMARK_CAPTURE(epilogue, gelu_s32_to_s8, DType::kI32, DType::kI8)->Apply(sizes);
BENCHMARK_CAPTURE(epilogue, gelu_s32_to_f16, DType::kI32, DType::kF16)->Apply(sizes);
BENCHMARK_CAPTURE(epilogue, gelu_f16_to_f16, DType::kF16, DType::kF16)->Apply(sizes);
BENCHMARK_CAPTURE(epilogue, gelu_f16_to_s8, DType::kF16, DType::kI8)->Apply(sizes);

}  // namespace
}  // namespace twofour::cuda
