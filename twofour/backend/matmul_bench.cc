// Matrix products of encoder layers, every kernel of this machine: dense beside 2:4, by how many
// rows share a pattern.
#include <benchmark/benchmark.h>

#include <fmt/format.h>

#include "twofour/backend/backends.h"
#include "twofour/backend/matmul_cases.h"

namespace twofour {
namespace {

void run(benchmark::State& state, const Kernel* kernel, int64_t m, int64_t n, int64_t k,
         int share) {
  CaseMaker maker(1);
  const MatmulCase c =
      maker.make({n, k, kernel->type(), kernel->sparse()}, m, Fill::kRandom, share);
  const PackedWeights packed = kernel->pack(c.desc, c.source());
  AlignedBuffer scratch(kernel->scratch_bytes(packed, m));
  std::vector<float> y(m * n);
  MatmulArgs args;
  args.m = m;
  args.x = c.x();
  args.input_scale = c.input_scale;
  args.y = y.data();
  args.panel_end = static_cast<int64_t>(packed.panels.size());
  args.scratch = scratch.data();
  for (auto _ : state) {
    kernel->run(packed, args);
    benchmark::ClobberMemory();
  }
  // Counted as for a dense matrix, so that ratios of GOPS are ratios of time.
  const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(n * k);
  state.counters["GOPS"] =
      benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void add(const Kernel* kernel, int share) {
  struct Layer {
    int64_t n, k;
  };
  for (const auto [n, k] :
       {Layer{384, 384}, Layer{1536, 384}, Layer{384, 1536}, Layer{3072, 768}}) {
    for (int64_t m : {1, 8, 48}) {
      const std::string name =
          fmt::format("{}{}/m:{}/n:{}/k:{}", kernel->name(),
                      kernel->sparse() ? fmt::format("/r:{}", share) : "", m, n, k);
      benchmark::RegisterBenchmark(name.c_str(), run, kernel, m, n, k, share);
    }
  }
}

const bool registered = [] {
  for (const Kernel* kernel : kernel_list()) {
    if (kernel->unavailable() || kernel->name().ends_with("reference")) continue;
    add(kernel, 1);
    if (kernel->sparse()) {
      add(kernel, 2);
      add(kernel, 4);
    }
  }
  return true;
}();

}  // namespace
}  // namespace twofour
